# What the Makefiles of the examples share: an environment, and the way to AWS by the SAM CLI.
ROOT := $(dir $(realpath $(lastword $(MAKEFILE_LIST))))..
EXAMPLE := $(notdir $(CURDIR))
BIN ?= $(ROOT)/.venv/bin
BUILD ?= $(ROOT)/build/$(EXAMPLE)
STAGE ?= dev
STACK ?= $(subst _,-,$(EXAMPLE))-$(STAGE)

.DEFAULT_GOAL := help
.PHONY: help template build deploy

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The project's template and state machines, with this folder's code.
template:
	mkdir -p $(BUILD)/statemachine
	for file in inline distributed; do sed '$(EDIT_MACHINES)' \
		$(ROOT)/statemachine/$$file.asl.json > $(BUILD)/statemachine/$$file.asl.json; done
	sed 's#examples/flights/#$(CURDIR)/#' $(ROOT)/template.yaml > $(BUILD)/template.yaml

build: template ## Build it for AWS: needs the SAM CLI, and no container.
	cd $(BUILD) && sam build --parameter-overrides Stage=$(STAGE) $(PARAMETERS)

deploy: build ## Deploy it to your AWS account.
	cd $(BUILD) && sam deploy --config-file $(ROOT)/samconfig.toml --config-env $(STAGE) --stack-name $(STACK) \
		--s3-prefix $(STACK) --parameter-overrides Stage=$(STAGE) $(PARAMETERS)

$(BIN)/fanfold:
	$(MAKE) -C $(ROOT) .venv/.demo

# What `sam build` calls here.
include $(ROOT)/examples/flights/Makefile

# Shared by the Makefiles of the examples: the environment, and deployment to AWS with the SAM CLI.
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

# Copy the project's template and state machines, and use the code of this folder.
template:
	mkdir -p $(BUILD)/statemachine
	for file in inline distributed; do sed '$(EDIT_MACHINES)' \
		$(ROOT)/statemachine/$$file.asl.json > $(BUILD)/statemachine/$$file.asl.json; done
	sed 's#examples/flights/#$(CURDIR)/#' $(ROOT)/template.yaml > $(BUILD)/template.yaml

build: template ## Build for AWS; needs the SAM CLI but no container.
	cd $(BUILD) && sam build --parameter-overrides Stage=$(STAGE) $(PARAMETERS)

deploy: build ## Deploy to your AWS account.
	cd $(BUILD) && sam deploy --config-file $(ROOT)/samconfig.toml --config-env $(STAGE) --stack-name $(STACK) \
		--s3-prefix $(STACK) --parameter-overrides Stage=$(STAGE) $(PARAMETERS)

$(BIN)/fanfold:
	$(MAKE) -C $(ROOT) .venv/.demo

# The targets that `sam build` calls.
include $(ROOT)/examples/flights/Makefile

# fanfold: `make demo` and `make test` install their requirements. They need Python 3.11+, make and a package index.

VENV ?= .venv
BIN = $(VENV)/bin
DEMO_FOLDER ?= fanfold-demo
# Test processes. On two cores, two more use the time that the others wait.
WORKERS ?= 4
# Many tests of the inner loop wait: six processes keep two cores busy.
INNER_WORKERS ?= 6
INNER_LOOP = --ignore=tests/integration --dist worksteal -m "not stack and not slow and not deep" --hypothesis-profile=inner
# Python caches compiled modules, even if the shell disables that: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE =
# Interpreters that the wheel is tested on, oldest first. Use paths if these names are not found.
PYTHONS ?= python3.11 python3.12 python3.13

# The first interpreter that is new enough; override with `make PYTHON=python3.12 …`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help check demo test deep bare wheel mutants lint types format docs bench systems dist clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Run a complete job on an embedded local AWS, and check its output.
	$(BIN)/fanfold demo --output $(DEMO_FOLDER)

check: $(VENV)/.dev ## The inner loop: lint, types, and the quick tests, without the emulator; each property on few examples.
	$(MAKE) -j2 lint types
	$(BIN)/python -m pytest -q -n $(INNER_WORKERS) $(INNER_LOOP)

test: $(VENV)/.dev $(VENV)-sam/.made ## Run all tests but the deep ones; the modules that decide need 100 % branch coverage.
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not deep" --cov --cov-report=
	$(BIN)/python -m coverage report --fail-under=100

deep: $(VENV)/.dev $(VENV)-sam/.made ## Run all tests in full, as every night: each property on all its examples.
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --hypothesis-profile=deep

bare: $(VENV)/.dev ## Test the built wheel without extras, with the quick tests.
	BUILDER=$(BIN)/python WORKERS=$(INNER_WORKERS) tests/wheel.sh bare $(BIN)/python $(INNER_LOOP)

wheel: $(VENV)/.dev ## Test the wheel on each Python, with and without extras. Needs uv, takes an hour.
	for python in $(PYTHONS); do for kind in bare full; do \
		BUILDER=$(BIN)/python WORKERS=$(WORKERS) tests/wheel.sh $$kind $$python || exit 1; done; done
	for kind in lowest-bare lowest; do \
		BUILDER=$(BIN)/python WORKERS=$(WORKERS) tests/wheel.sh $$kind $(firstword $(PYTHONS)) || exit 1; done

mutants: $(VENV)/.dev ## Mutate each line on the path to an acknowledgment; list the mutants that no test detects. Takes 30 minutes.
	$(BIN)/mutmut run
	$(BIN)/mutmut results

lint: $(VENV)/.dev ## Check the style of code and texts, the template, and the workflows.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/wording.py
	$(BIN)/cfn-lint template.yaml examples/*/template.yaml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml src/fanfold/init/templates/common/dot_github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml

types: $(VENV)/.dev ## Check types, and that every public name has a type.
	$(BIN)/mypy
	$(BIN)/python tests/typing/completeness.py

format: $(VENV)/.dev ## Format the code, and fix style errors.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)-docs/.made ## Build the documentation into site/; a broken link is an error.
	PYTHONPATH=src $(VENV)-docs/bin/python docs/stage.py build/pages
	$(VENV)-docs/bin/zensical build --strict --clean
	$(VENV)-docs/bin/python docs/look.py site

bench: $(VENV)/.dev ## Run the benchmarks of fanfold and its alternatives. Takes over 30 minutes.
	for script in $(BENCHMARKS); do $(BIN)/python benchmarks/$$script.py || exit 1; done

systems: $(VENV)/.dev ## Run the systems of five articles, and compare their figures. Takes six minutes.
	$(BIN)/python benchmarks/five_systems.py

dist: $(VENV)/.dev ## Build the wheel and the source archive into dist/.
	$(BIN)/python -m hatchling build --directory dist

clean: ## Delete everything that make created.
	rm -rf $(VENV) $(VENV)-docs $(VENV)-sam $(DEMO_FOLDER) .aws-sam dist build site .coverage .hypothesis mutants .mypy_cache .pytest_cache .ruff_cache

# Scripts that `make bench` runs, comparisons first.
BENCHMARKS = overhead limits io_efficiency failures first_failure cold_start incident in_time growth observers bodies \
	aws_calls threads scatter \
	end_to_end idempotency ledger_cost run_page segment_scaling readers parquet folds archive_bucket package_size extras_size chaos worker_groups \
	five_systems

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later was found; run: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made requirements/demo.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements/dev.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

# The SAM CLI for the tests, in a separate environment because its dependencies conflict.
$(VENV)-sam/.made: $(VENV)/.made requirements/sam.txt
	$(PYTHON) -m venv $(VENV)-sam
	$(VENV)-sam/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/sam.txt
	@touch $@

# Tools that build the documentation. fanfold is imported from src/.
$(VENV)-docs/.made: $(VENV)/.made requirements/docs.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

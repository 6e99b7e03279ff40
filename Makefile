# One plain line each. `make` alone lists them.
VENV ?= .venv
PYTEST ?= -n 2 --dist worksteal
BENCH ?=
BIN = $(VENV)/bin
CODE = runtime actors helpers sandbox wrangler_compat

.DEFAULT_GOAL := help
.PHONY: help demo serve test check soak bench docs build clean

help: ## list the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.ready-run ## start the service, load penguins, run a program in the sandbox, show its answer
	@$(BIN)/duralite demo

serve: $(VENV)/.ready-run ## start the service on http://127.0.0.1:8484
	@$(BIN)/duralite serve

test: $(VENV)/.ready-dev ## run all tests
	@$(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/.ready-dev ## check style, types, layers, and that the generated docs are up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m docs.generate --check

soak: $(VENV)/.ready-dev ## run the tests of scale at full size: 10,000 sessions, 10,000 actors with alarms
	@DURALITE_SOAK=1 $(BIN)/python -m pytest tests/acceptance/test_sessions_scale.py tests/acceptance/test_alarms_scale.py

bench: $(VENV)/.ready-dev ## measure speed, each figure beside the machine's own limit
	@$(BIN)/duralite bench $(BENCH)

docs: $(VENV)/.ready-dev ## write the reference pages from the code
	@$(BIN)/python -m docs.generate

build: $(VENV)/.ready-dev ## build the wheel, install it into a fresh environment, and test what it installs
	@.ci/wheel $(BIN)/python

clean: ## remove what was built and cached
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.ready-run: pyproject.toml .ci/setup .ci/constraints.txt
	@.ci/setup $(VENV) data
	@touch $@

$(VENV)/.ready-dev: pyproject.toml .ci/setup .ci/constraints.txt
	@.ci/setup $(VENV) dev
	@touch $@ $(VENV)/.ready-run

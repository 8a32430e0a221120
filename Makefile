# Everything runs in .venv, made on first use. A stamp file per dependency group
# says that it is installed; it is made again only when pyproject.toml has changed.

PYTHON ?= python3
VENV := .venv
BENCH := .cache/bench
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test reliability extensions soak fuzz lint compat bench clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed ## serve the example application (PORT=8000)
	@echo "The example application is on http://$(HOST):$(PORT) (Ctrl-C ends it)"
	@exec $(BIN)/uvicorn --app-dir examples --host $(HOST) --port $(PORT) blog:app --timeout-graceful-shutdown 2

test: $(VENV)/.installed-test $(VENV)/.installed-extensions ## run the tests (ARGS="tests/test_x.py -k name")
	$(BIN)/python -m pytest $(ARGS)

reliability: $(VENV)/.installed-test $(VENV)/.installed-extensions ## run all tests and write the table of docs/reliability.md
	$(BIN)/python -m pytest --reliability-table=docs/reliability.md $(ARGS)

extensions: $(VENV)/.installed-test $(VENV)/.installed-extensions ## run the tests of extensions and write the table of docs/extensions.md
	$(BIN)/python -m pytest tests/extensions --extensions-table=docs/extensions.md $(ARGS)

soak: $(VENV)/.installed-test ## make a million requests and see what they leave behind (10 minutes)
	$(BIN)/python -m tests.kit.soak $(ARGS)

lint: $(VENV)/.installed-lint ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy --strict

compat: | $(BIN)/python ## run the test suites of Flask and its examples on asyncflask, once per transport
	$(BIN)/python -m tests.compat $(ARGS)

fuzz: $(VENV)/.installed-test ## compare generated requests with Flask (FUZZ=100000 SEED=0)
	FUZZ=$(or $(FUZZ),100000) FUZZ_SEED=$(or $(SEED),0) $(BIN)/python -m pytest tests/fuzz $(ARGS)

bench: $(BENCH)/.installed ## measure against other frameworks (QUICK=1: 2 minutes; ARGS="--help" tells more)
	$(BENCH)/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

clean: ## remove the environment, caches and built files
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "asyncflask needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Dependency groups need a newer pip than the one Python 3.11 comes with.
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# The frameworks to measure against have an environment of their own, where each is as current as
# the registry has it; remove the stamp to look again.
$(BENCH)/.installed: pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet --upgrade --editable . --group bench
	@touch $@

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

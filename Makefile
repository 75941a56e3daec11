# Everything a contributor runs. `make run` and `make test` set up all they need: a virtual environment in .venv, made
# once and again whenever pyproject.toml changes. They need Python 3.11 or newer with pip, make, and nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first of these that runs and is new enough; `make test PYTHON=/path/to/python3.12` overrules the search.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-for-treadle
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Parallel test processes; more than 8 wait for each other's disk more than they help.
JOBS ?= auto
PYTEST := $(BIN)/python -m pytest
PYTEST_ARGS ?=

# Of `make bench`: names of rows (all if empty), and any option of `python -m bench`.
ROWS :=
BENCH_ARGS :=

PACKAGES := src/treadle examples bench $(wildcard backend/core)
AUDIT := examples/environment_audit

.PHONY: help run test check format bench docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## Run the example: an audit of this Python environment, written to out/audit/
	@mkdir -p out
	@$(BIN)/treadle run $(AUDIT)/audit.yaml --actions $(AUDIT)/actions.py --db out/audit.db -i report_dir=out/audit
	@echo "The report: out/audit/report.html (and report.md beside it)"

test: $(READY) ## Run every test
	@$(PYTEST) -n $(JOBS) --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

check: $(READY) ## Format, lint, types, who imports whom, fast tests: the gate before a commit
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(PACKAGES)
	@$(PYTEST) -q tests/unit/test_imports.py
	@$(PYTEST) -q -n $(JOBS) --maxprocesses 8 -m "not slow" tests/unit

format: $(READY) ## Put every file into the one format, and fix what the linter can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(READY) ## Measure speed beside two limits; ROWS=chain,wide for some rows, BENCH_ARGS=--json and others
	@$(BIN)/python -m bench $(if $(ROWS),--rows "$(ROWS)") $(BENCH_ARGS)

docs: $(READY) ## Write the generated pages; check that every link leads somewhere and every example is what it says
	@$(BIN)/python docs/generate.py
	@$(PYTEST) -q tests/docs

clean: ## Remove what was made here: .venv, caches, out/
	@rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Some systems ship Python without `ensurepip`; there the pip beside it puts one into the environment.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "treadle needs Python 3.11 or newer, and none of python3, python3.11 ... runs here." \
		"Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "treadle needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`." \
		"Say which one to use: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) with `$(PYTHON) --version` (once) ..."
	@$(BIN)/python -c '' 2>/dev/null || { \
		if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv --clear $(VENV); \
		else $(PYTHON) -m venv --clear --without-pip $(VENV) && \
			$(PYTHON) -m pip --disable-pip-version-check --quiet --python $(BIN)/python install pip; fi; }
	@$(PIP) install --editable '.[dev]'
	@touch $@

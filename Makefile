# make help lists what there is. Everything runs in .venv, which `make setup` builds from pinned, hashed packages.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help setup demo live test fast faults soak check format format-check lint types imports bench clean lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with the pinned packages; instant when nothing changed
	@:

# Hashes decide what is installed, so any pip that venv brings is good enough: none is upgraded first.
$(STAMP): requirements-dev.txt | $(BIN)/python
	@echo "Installing the pinned packages into $(VENV); the first time takes a minute or two."
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, and $(PYTHON) is older: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

demo: setup ## a replica set, sample data, two sweeps and a full check on this machine, then all of it stopped
	@$(BIN)/python run.py demo $(ARGS)

live: setup ## the same with the daemon, simulated viewers and the dashboard, until Ctrl-C
	@$(BIN)/python run.py demo --live $(ARGS)

test: setup ## the whole suite, with real servers; ARGS="-k sweep" for a part
	@$(BIN)/python -m pytest -q --numprocesses=3 --dist=worksteal $(ARGS)

fast: setup ## the unit tests alone, with a few examples a property: seconds, no server
	@FAST=1 $(BIN)/python -m pytest -q --numprocesses=2 --dist=worksteal tests/unit $(ARGS)

faults: setup ## every drilled fault: what the operator saw, and seconds until paid again
	@FAULT_S=$${FAULT_S:-10} FREEZE_S=$${FREEZE_S:-60} $(BIN)/python -m pytest -q tests/faults/drills $(ARGS)

soak: setup ## ten minutes of payments while nodes and daemons are killed; SOAK_S and SOAK_SEED choose others
	@SOAK_S=$${SOAK_S:-600} $(BIN)/python -m pytest -q -s tests/faults/test_soak.py $(ARGS)

check: format-check lint types imports test ## what CI runs: format, lint, types, imports, tests

format: setup ## format the code
	@$(BIN)/ruff format .

format-check: setup
	@$(BIN)/ruff format --check .

lint: setup ## ruff
	@$(BIN)/ruff check .

types: setup ## mypy --strict
	@$(BIN)/mypy

imports: setup ## the layers, by import-linter
	@$(BIN)/lint-imports --no-logo

bench: setup ## every script in benchmarks/
	@set -e; for script in benchmarks/[a-z]*.py; do \
		test -e "$$script" || { echo "There is no benchmark yet." >&2; exit 1; }; \
		echo "== $$script"; $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)" $(ARGS); \
	done

clean: ## caches; ledgers, reports and .venv stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# uv resolves for all platforms at once, which pip cannot; nothing else needs it, so it is not a pinned package.
LOCK := $(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate pyproject.toml

lock: setup ## requirements.txt, requirements-api.txt and requirements-dev.txt anew from pyproject.toml
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCK) -o requirements.txt >/dev/null
	@$(LOCK) --extra api --constraint requirements.txt -o requirements-api.txt >/dev/null
	@$(LOCK) --extra dev -o requirements-dev.txt >/dev/null

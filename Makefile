# Two commands matter: `make demo` and `make test`. Both set up what they need; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SECONDS ?= 20
MUTANTS ?= 100000
KILLS   ?= 200
EXAMPLES ?= 500
# Tests run in as many processes as there are processors, one file in one process: fixtures are shared within a file.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench official drill judge fuzz nightly clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready node_modules/.ready ## Set up everything (idempotent; fast when nothing changed)
	@tools/need-bubblewrap
	@$(BIN)/python -m adyton.devnet.native  # images that every network here shares; nothing to do when they are there

$(VENV)/.ready: requirements-dev.lock pyproject.toml tools/setup-python
	@PYTHON="$(PYTHON)" tools/setup-python "$(VENV)"
	@touch $@

node_modules/.ready: package-lock.json tools/setup-node
	@tools/setup-node
	@touch $@

demo: setup ## The main job: a confidential task from purchase to verified result, and five refusals
	@$(BIN)/adyton demo --report demo-report.json

test: setup lint judge ## Lint and run the tests
	@$(PYTEST)

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## Run the benchmarks; writes bench-report.json
	@$(BIN)/python -m bench.run --report bench-report.json

official: setup ## Only the tests that drive the network with the official npm client
	@$(BIN)/python -m pytest -m official tests/official

drill: setup ## Kill a CAS under load, KILLS times, and look for every write that it had acknowledged
	@ADYTON_DRILL_KILLS=$(KILLS) $(BIN)/python -m pytest -q -s tests/cas/test_durability.py

judge: $(VENV)/.ready ## Set up Intel's verification library, which the tests ask; they say so where it cannot be had
	@tools/setup-apart judge $(BIN)/python

fuzz: $(VENV)/.ready ## Coverage-guided fuzzing of every parser, SECONDS for each target
	@tools/setup-apart fuzz $(BIN)/python
	@$(BIN)/python -m fuzz.run --seconds $(SECONDS)

nightly: setup fuzz ## What takes too long for every change: fuzzing, MUTANTS quotes shown to two verifiers, EXAMPLES requests for each operation of SMS and CAS
	@$(BIN)/python -m fuzz.differential --count $(MUTANTS)
	@ADYTON_CONTRACT_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -o timeout=3600 tests/sms/test_openapi.py tests/cas/test_openapi.py

clean: ## Remove everything that set-up and runs made here
	@rm -rf $(VENV) node_modules build demo-report.json bench-report.json

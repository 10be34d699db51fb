# Every target does its own set-up. `make help` lists the targets.
PYTHON ?= python3
DATA_HOME := $(if $(XDG_DATA_HOME),$(XDG_DATA_HOME),$(HOME)/.local/share)
export WEOS_HOME ?= $(DATA_HOME)/weos
BIN := $(WEOS_HOME)/venv/bin
FAST_TESTS := tests/unit tests/contract tests/api

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= event stream gguf command request record statement proof bundle json

.PHONY: help run serve setup gvisor test test-gpu check fuzz bench bench-packages bench-power format schemas lock bootstrap
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

bootstrap:
	@$(PYTHON) supervisor/bootstrap.py

run: bootstrap ## set everything up, execute one request and verify its signed record
	@$(BIN)/weos-engine demo

serve: setup ## run the API in the foreground
	@exec $(BIN)/weos-engine serve

setup: bootstrap ## set everything up without executing a request
	@$(BIN)/weos-engine setup

gvisor: setup ## install gVisor's runsc and register it (YES=1: also with a container engine that was already installed)
	@$(BIN)/weos-engine gvisor $(if $(filter 1,$(YES)),--yes)

test: setup gvisor ## run the whole test suite, containers included
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90

test-gpu: bootstrap ## run the tests that need an NVIDIA GPU; without a GPU they are skipped with the reason (WEOS_GPU_LIMIT=1: all)
	@$(BIN)/python -m pytest tests/gpu -s

check: bootstrap ## check lint, types, imports and generated files, and run the tests without containers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m contracts.generate --check
	$(BIN)/python -m pytest $(FAST_TESTS) --cov --cov-report=
	$(BIN)/coverage report --include='contracts/*,supervisor/domain/*' --skip-covered --show-missing --fail-under=100

fuzz: SHELL := /bin/bash
fuzz: bootstrap ## fuzz each parser for FUZZ_SECONDS (60), guided by coverage; the corpus is kept
	@set -o pipefail; for target in $(FUZZ_TARGETS); do \
		kept="$(WEOS_HOME)/fuzz/$$target"; mkdir -p "$$kept"; echo "$$target: $(FUZZ_SECONDS) s, in $$kept"; \
		$(BIN)/python -m tests.fuzz.harness "$$target" "$$kept" -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			2>&1 | grep -vE 'INFO|WARNING|NEW|REDUCE|RELOAD|ictionary|# Uses' || exit 1; \
	done

# The packages that draw the plots; an installation does not include them.
bench-packages: bootstrap
	@cmp -s benchmarks/requirements.lock "$(WEOS_HOME)/bench/requirements.lock" || { \
		rm -rf "$(WEOS_HOME)/bench" && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
			--only-binary=:all: --target "$(WEOS_HOME)/bench" -r benchmarks/requirements.lock && \
		cp benchmarks/requirements.lock "$(WEOS_HOME)/bench/"; }

bench: bench-packages ## measure against bare llama.cpp and plain containers: build/bench (QUICK=1: shorter; ROWS=a,b: only those rows)
	@PYTHONPATH="$(WEOS_HOME)/bench" $(BIN)/python -m benchmarks.suite --output build/bench \
		$(if $(filter 1,$(QUICK)),--quick) $(if $(ROWS),--only $(ROWS))
	@PYTHONPATH="$(WEOS_HOME)/bench" $(BIN)/python -m benchmarks.scale --measured build/bench/results.json \
		--output build/bench

bench-power: bench-packages ## simulate how max_watts is kept; a table, figures and a plot go into build/bench-power
	@PYTHONPATH="$(WEOS_HOME)/bench" $(BIN)/python -m benchmarks.power.simulation --output build/bench-power

format: bootstrap ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: bootstrap ## regenerate the JSON Schemas and the OpenAPI document
	$(BIN)/python -m contracts.generate

lock: ## refresh the hash-locked requirements (needs uv; writes no addresses)
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -o supervisor/requirements.lock
	uv pip compile pyproject.toml --extra server --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -c supervisor/requirements.lock -o supervisor/requirements-server.lock
	uv pip compile --group pyproject.toml:bench --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -c supervisor/requirements.lock -o benchmarks/requirements.lock

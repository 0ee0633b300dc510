# Short targets over real commands. `make` alone lists them.

PYTHON ?= python3
UP_FLAGS ?=
TEST_FLAGS ?=
LOCK_FLAGS ?=
TEST_WORKERS ?= 2
BENCH_FLAGS ?=

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_INSTALL := $(UV) pip install --python $(BIN)/python

# PyTorch's CPU build is a tenth of the CUDA one. A folder or page of wheels that offers it can be named in
# PIP_FIND_LINKS; without one, uv asks PyTorch's own index. UV_TORCH_BACKEND=auto takes what fits the GPU.
ifdef PIP_FIND_LINKS
UV_INSTALL += --find-links "$(PIP_FIND_LINKS)"
else
export UV_TORCH_BACKEND ?= cpu
endif

.DEFAULT_GOAL := help
.PHONY: help install up demo down test coverage test-nightly soak check fmt lock openapi bench-quality bench-filtered bench-audit bench-ingest clean

help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## create the environment with the pinned dependencies

up: $(VENV)/.installed ## start the server in the background (UP_FLAGS="--small", "--quote-only", "--port 0")
	@$(BIN)/strongroom up --detach $(UP_FLAGS)

demo: $(VENV)/.installed ## ingest the sample documents, shared with everyone
	@$(BIN)/strongroom ingest samples --share everyone

down: ## stop the server
	@test ! -x $(BIN)/strongroom || $(BIN)/strongroom down

test: $(VENV)/.installed-dev ## run the tests, TEST_WORKERS files at a time
	@$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile $(TEST_FLAGS)

coverage: $(VENV)/.installed-dev ## run the tests, and say which lines they reach
	@$(BIN)/pytest --cov --cov-report=term $(TEST_FLAGS)

test-nightly: $(VENV)/.installed-dev ## requests made from the OpenAPI document as everybody, and 100,000 steps of access changes
	@$(BIN)/pytest -m nightly --contract-examples 20 tests/contract
	@$(BIN)/pytest -m nightly tests/integration/test_worker_queues.py
	@$(BIN)/pytest --leak-steps 100000 tests/leaks/test_stateful_access.py

soak: $(VENV)/.installed-dev ## the long runs: 500 kills under streams, 200 under ingestion, 10,000 tamperings, 1,000 erasures, 10,000 malformed files
	@$(BIN)/pytest --kill-points 500 --timeout 3600 tests/faults/test_kill_answers.py
	@$(BIN)/pytest --tamperings 10000 --timeout 3600 tests/faults/test_tampering.py
	@$(BIN)/pytest --subjects 1000 tests/faults/test_erased_subjects.py
	@$(BIN)/pytest --ingested 1000 --ingestion-kills 200 --restarts 50 --poison-rounds 3 --timeout 36000 \
	  tests/faults/test_ingestion_survives.py
	@$(BIN)/pytest --malformed 10000 --timeout 36000 tests/faults/test_malformed_files.py

check: $(VENV)/.installed-dev ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.installed-dev ## format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-quality: $(VENV)/.installed-dev ## measure retrieval and answers on the development corpus
	$(BIN)/python -m bench.quality

bench-filtered: $(VENV)/.installed-dev ## measure what the access filter costs a search
	$(BIN)/python -m bench.filtered_search

bench-audit: $(VENV)/.installed-dev ## measure what the record costs (BENCH_FLAGS="--verify 1000000" checks a million records)
	$(BIN)/python -m bench.audit $(BENCH_FLAGS)

openapi: $(VENV)/.installed ## print the HTTP interface as OpenAPI
	@$(BIN)/strongroom openapi

bench-ingest: $(VENV)/.installed-dev ## measure ingestion: against the bare embedder, with two workers, by format and size
	@$(BIN)/python -m bench.ingest
	@$(BIN)/python -m bench.ingest --workers
	@$(BIN)/python -m bench.ingest_scale $(BENCH_FLAGS)

clean: ## remove caches; data, models and the environment stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

# --- the environment ------------------------------------------------------------------------------

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "Strongroom needs Python 3.11 or later, and found no $(PYTHON)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Strongroom needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version)."; \
	  echo "Name another one: make up PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Creating the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: requirements.txt pyproject.toml | $(UV)
	@echo "Installing the pinned dependencies"
	@$(UV_INSTALL) --requirement requirements.txt
	@$(UV_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing the tools for tests and checks"
	@$(UV_INSTALL) --requirement requirements-dev.txt
	@touch $@

# --- the locks ------------------------------------------------------------------------------------

# Everything that the index serves is locked with its hashes. PyTorch is pinned by version only, since its CPU
# and CUDA builds are different files, and the CUDA build's companions come with it where it is chosen.
COMPILE := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --quiet \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(LOCK_FLAGS)
UNPINNED_BUILDS := torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+
WITHOUT_BUILDS := awk '/^[^ \#]/ { keep = !/^($(UNPINNED_BUILDS))==/ } keep'
TORCH_PIN := $$(grep -oE '"torch==[0-9.]+"' pyproject.toml | tr -d '"')

lock: | $(UV) ## pin every dependency anew (LOCK_FLAGS=--upgrade takes newer ones)
	@$(COMPILE) pyproject.toml --output-file $(VENV)/runtime.lock
	@{ $(WITHOUT_BUILDS) $(VENV)/runtime.lock; echo "$(TORCH_PIN)"; } > requirements.txt
	@$(COMPILE) --group dev --constraints requirements.txt --output-file $(VENV)/dev.lock
	@$(WITHOUT_BUILDS) $(VENV)/dev.lock > requirements-dev.txt
	@grep -cE '^[^ ]' requirements.txt requirements-dev.txt

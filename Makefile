# `make run` and `make test` set everything up by themselves; nothing is installed outside .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# two processes with one thread each: several with several threads get in each other's way
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: help setup run test check format dist clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/'

setup: $(VENV)/.done ## create the environment with the versions that were tested

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: setup ## the main job: search under a latency budget on images that come with the package
	$(BIN)/mvit2-search run --space blocks --data fashion-mnist-mini --latency-budget mobilevitv2-0.75 \
		--trials 8 --study first

test: setup ## all tests
	$(PYTEST)

check: setup ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m 'not slow'

format: setup ## rewrite the code in the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: setup ## build the wheel
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

clean: ## remove the environment and caches, not the results
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

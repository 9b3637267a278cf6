# `make run` and `make test` set up what they need by themselves; nothing is installed outside .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
# what pip does on one core; some packages hold files for other Pythons, which do not compile
COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
# for two cores, three processes with one thread each: one of them often waits for a device or another process;
# what one of them has compiled the others need not, whatever the surroundings say
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

.PHONY: help setup run test check types fast format dist clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/'

setup: $(VENV)/.developer ## create the environment for tests and checks, with the versions that were tested

$(VENV)/.user: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e .
	$(COMPILE)
	touch $@

$(VENV)/.developer: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e '.[dev]'
	$(COMPILE)
	touch $(VENV)/.user $@

run: $(VENV)/.user ## the main job: search under a latency budget on images that come with the package
	$(BIN)/mvit2-search run --space blocks --data fashion-mnist-mini --latency-budget mobilevitv2-0.5 \
		--trials 6 --confirm-seeds 2 --study first

test: setup ## all tests
	$(PYTEST)

check: setup ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory -j 2 types fast

types: setup
	$(BIN)/mypy

fast: setup
	$(PYTEST) -m 'not slow'

format: setup ## rewrite the code in the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(VENV)/.user ## build the wheel
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

clean: ## remove the environment and caches, not the results
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

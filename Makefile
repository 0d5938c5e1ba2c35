# Each target sets itself up in .venv: `make demo` and `make test` are enough on a fresh machine.
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all lint format bench wheel-demo clean

demo: $(READY)
	$(BIN)/cogmodels demo --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest

# The slow scientific checks too: false-positive rates, kill tests, whole protocols.
test-all: $(READY)
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/pip install --quiet -e ".[bench]"
	$(BIN)/python -m benchmarks.ridge
	$(BIN)/python -m benchmarks.banded
	$(BIN)/python -m benchmarks.attention
	$(BIN)/python -m benchmarks.planted_routing
	$(BIN)/python -m benchmarks.extraction
	$(BIN)/python -m benchmarks.cluster
	$(BIN)/python -m benchmarks.oat
	$(BIN)/python -m benchmarks.search_scenes
	$(BIN)/python -m benchmarks.scanpath_metrics
	$(BIN)/python -m benchmarks.search_speed --threads 2
	$(BIN)/python -m benchmarks.search_diets

# The built wheel, unpacked outside the checkout, runs the demo.
wheel-demo: $(READY)
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel .
	tools/run_wheel_demo $(abspath $(BIN))/python build/wheel

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 13) and f"cogmodels needs Python 3.11 or 3.12, and $(PYTHON) is {v[0]}.{v[1]}: call make with PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	touch $(READY)

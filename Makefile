# Two commands do all set-up on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := digits-rpi4
# Test files at a time; each brings a TensorFlow process of its own.
JOBS ?= 2

.PHONY: demo models arm test test-all lint types format benchmarks clean

demo: $(STAMP)
	rm -rf $(DEMO) $(DEMO).json
	$(BIN)/edgepack build examples/digits/digits.keras --device rpi4 --data examples/digits/digits.npz -o $(DEMO)
	$(BIN)/python $(DEMO)/benchmark.py --runs 50 > $(DEMO).json

# What cannot be fetched makes the tests that need it skip by name.
models: $(STAMP)
	-$(BIN)/python tests/fetch_models.py

# Likewise. Installs qemu-user by apt where it is absent and this is root.
arm: $(STAMP)
	-$(BIN)/python tests/fetch_arm.py

test: $(STAMP) lint types models arm
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-all: $(STAMP) lint types models
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(STAMP)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/lowering.py
	$(BIN)/python benchmarks/evaluation.py

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .edgepack .models .arm $(DEMO) $(DEMO).json .mypy_cache .ruff_cache .pytest_cache .hypothesis

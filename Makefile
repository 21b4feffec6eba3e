# `make demo` and `make test` need only Python 3.11 or newer, git and make; each sets up what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.lensblend-setup
DEMO_DIR ?= outputs/demo
# Small networks: a process for each core, which computes on one thread that sleeps while it waits (spinning ones are
# twice as slow beside anything else). What shares a training stays in one process.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist loadfile

.PHONY: help setup demo demo-smoke test test-slow test-gpu lint types imports check bench reliability \
	reliability-quick slurm-test docs wheel clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## create .venv with the pinned packages

# uv installs torch and torchvision as one pinned pair from one index; a mixed pair breaks timm and torchmetrics.
$(STAMP): pyproject.toml constraints.txt constraints-app.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lensblend needs Python 3.11 or newer; $$($(PYTHON) --version) is too old. Try: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (once; about 5 GB, most of it PyTorch)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --constraint constraints.txt --editable '.[dev]'
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --no-deps --requirement constraints-app.txt
	@touch $(STAMP)

demo: setup  ## train and evaluate on embedded data, render photos (minutes)
	$(BIN)/lensblend demo --output $(DEMO_DIR)

demo-smoke: setup  ## the demo with two batches a phase (seconds)
	$(BIN)/lensblend demo --smoke --output $(DEMO_DIR)-smoke

test: setup  ## run the tests and doctests
	$(PYTEST) $(PARALLEL)

test-slow: setup  ## run the tests that take minutes
	$(PYTEST) $(PARALLEL) -m 'slow and not alone'
	$(PYTEST) -m alone tests/survey

test-gpu: setup  ## run the tests that need a CUDA device
	$(PYTEST) -m gpu

lint: setup  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff check --select F821 --config 'lint.ignore=[]' benchmarks examples tests  # where no shapes stand as annotations
	$(BIN)/ruff format --check .

types: setup  ## check the annotations
	$(BIN)/mypy

imports: setup  ## check that imports go down only
	$(BIN)/lint-imports

check: lint types imports test  ## everything that must be green

bench: setup  ## measure the blurs against the dense convolution
	$(BIN)/python benchmarks/blur.py

reliability: setup  ## kill, interrupt and starve real trainings, all counts (about an hour)
	$(BIN)/python tests/reliability --full --output docs/benchmarks/reliability.md

# Rows that go on from one whole training, and the others beside them: many rows wait for a single process.
FROM_A_WHOLE := R2 R3 R4 R5 R6 R17 R18
reliability-quick: setup  ## a few cases of each row of `make reliability` (minutes)
	$(BIN)/python tests/reliability --rows $(FROM_A_WHOLE) & beside=$$!; \
	$(BIN)/python tests/reliability --but $(FROM_A_WHOLE); code=$$?; wait $$beside && exit $$code

slurm-test: setup  ## preempt, limit and cancel sweeps on a real SLURM of this machine (root; a quarter of an hour)
	$(BIN)/python tests/slurm --output docs/benchmarks/slurm.md

docs: setup  ## build the documentation into docs/_build/html, warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

wheel: setup  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## remove .venv and caches, never outputs/
	rm -rf $(VENV) dist build docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Everything from a fresh clone, with Python and nothing else:
#
#   make demo                                   segment a picture, follow objects through a clip: outputs/
#   make demo IMAGE=photo.jpg                   on a picture of yours
#   make demo VIDEO=clip.mp4                    a click on a clip's first frame, followed
#   make demo CHECKPOINT=facebook/sam2.1-hiera-tiny    with trained weights: a folder or a name on the Hub
#   make test                                   format, lint, types and tests
#   make bench                                  how fast ours is beside transformers, on a picture of yours: PICTURE=
#   make bench BENCH_FLAGS=--quick              in some minutes; --gpu on a CUDA device, --help for more
#   make format                                 what the formatter and the linter can mend by themselves
#   make clean                                  remove the environment and all that was built
#
# PYTHON picks the interpreter, PIP_FLAGS goes to pip. On Linux, PyPI's torch brings CUDA libraries of several
# gigabytes; PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" fetches a build for the CPU alone.

PYTHON ?= python3
PIP_FLAGS ?=
VENV ?= .venv
OUTPUT ?= outputs
IMAGE ?=
VIDEO ?=
CHECKPOINT ?=
PICTURE ?=
BENCH_FLAGS ?=
PYTEST_FLAGS ?= --numprocesses auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) --constraint constraints.txt

.PHONY: demo test lint bench format clean

demo: $(VENV)/.package
	$(BIN)/python -m sam2_hf.demo --output "$(OUTPUT)" \
	  $(if $(IMAGE),--image "$(IMAGE)") $(if $(VIDEO),--video "$(VIDEO)") $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

# One thread a process: two that share the cores wait for each other longer than they work.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.package
	$(BIN)/python -m benchmarks $(if $(PICTURE),--picture "$(PICTURE)") $(BENCH_FLAGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps are older than the file they depend on exactly when something has to be installed again.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("sam2_hf needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.package: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing the package into $(VENV); the first time takes some minutes."
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	$(PIP) --editable ".[dev]"
	@touch $@

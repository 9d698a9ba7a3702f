# Everything from a fresh clone, with Python and nothing else:
#
#   make demo                                   segment an image, track objects through a clip: outputs/
#   make demo IMAGE=photo.jpg                   on an image of yours
#   make demo VIDEO=clip.mp4                    a click on the first frame of a clip, tracked
#   make demo CHECKPOINT=facebook/sam2.1-hiera-tiny    with trained weights: a folder or a name on the Hub
#   make test                                   format, lint, types and tests
#   make test-older                             tests that compare numbers, with older processors' instruction sets
#   make test-browser                           the app in Chromium; SCREENSHOT=docs/images/app.png writes the screenshot
#   make bench                                  ours, transformers and the official code, timed; IMAGE= for a photo
#   make bench BENCH_FLAGS=--quick              in some minutes; --gpu on a CUDA device, --help for more
#   make campaigns                              thousands of prompts, damaged files, kills: figures in outputs/campaigns.json
#   make dist                                   wheels and sdists in dist/, their contents checked
#   make test TRANSFORMERS=lowest               with the lowest supported transformers, or the newest; also for demo
#   make format                                 what the formatter and the linter can mend by themselves
#   make clean                                  remove the environments and all that was built
#
# PYTHON picks the interpreter, PIP_FLAGS goes to pip. On Linux, PyPI's torch brings CUDA libraries of several
# gigabytes; PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" fetches a build for the CPU alone.

PYTHON ?= python3
PIP_FLAGS ?=
TRANSFORMERS ?=
VENV ?= .venv$(if $(TRANSFORMERS),-$(TRANSFORMERS))
OUTPUT ?= outputs
IMAGE ?=
VIDEO ?=
CHECKPOINT ?=
BENCH_FLAGS ?=
SEED ?=
SCALE ?=
PYTEST_FLAGS ?= --numprocesses auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) --constraint $(VENV)/constraints.txt

LOWEST := $(shell sed -n 's/.*"transformers>=\([0-9.]*\),.*/\1/p' pyproject.toml)

.PHONY: campaigns demo test test-older test-browser lint bench dist format clean

demo: $(VENV)/.demo
	$(BIN)/python -m sam2_hf.demo --output "$(OUTPUT)" \
	  $(if $(IMAGE),--image "$(IMAGE)") $(if $(VIDEO),--video "$(VIDEO)") $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

# One thread a process: two that share the cores wait for each other longer than they work.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

# The order of a sum depends on the instruction set, and with it the last digits. These tests compare numbers that are
# computed in two ways, or that were computed elsewhere.
NUMERIC_TESTS := tests/fast tests/network tests/tracking \
  $(addprefix tests/training/test_,clip_model.py half_precision.py) \
  $(wildcard tests/test_parity_*.py tests/test_official_*.py tests/official/test_official_*.py) \
  $(addprefix tests/test_modeling_sam2,.py _modes.py _ragged.py _video.py _video_streams.py)

test-older: $(VENV)/.dev
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest $(PYTEST_FLAGS) $(NUMERIC_TESTS)

test-browser: $(VENV)-app/.ready
	OMP_NUM_THREADS=1 $(if $(SCREENSHOT),SAM2_APP_SCREENSHOT="$(SCREENSHOT)") $(VENV)-app/bin/python -m pytest -m browser -rs tests/app

# SEED repeats a campaign; SCALE=0.01 is a hundredth of it.
campaigns: $(VENV)/.dev
	OMP_NUM_THREADS=1 SAM2_CAMPAIGN_SEED="$(SEED)" SAM2_CAMPAIGN_SCALE="$(SCALE)" \
	  SAM2_CAMPAIGN_FIGURES="$(OUTPUT)/campaigns.json" $(BIN)/python -m pytest -m slow -s tests/campaigns

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.package
	$(BIN)/python -m benchmarks $(if $(IMAGE),--image "$(IMAGE)") $(BENCH_FLAGS)

dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m build --outdir dist packages/runtime
	$(BIN)/python scripts/check_wheel.py --contents dist/*

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-lowest .venv-newest .venv-app $(VENV) $(VENV)-app build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps are older than the file they depend on exactly when something has to be installed again.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("sam2_hf needs Python 3.10 or newer" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# With TRANSFORMERS, pip is free to choose the packages whose versions transformers narrows.
$(VENV)/constraints.txt: $(VENV)/.python constraints.txt pyproject.toml
	$(if $(TRANSFORMERS),grep -vE '^(transformers|huggingface_hub|tokenizers)==' constraints.txt > $@, cp constraints.txt $@)
	$(if $(filter lowest,$(TRANSFORMERS)),echo 'transformers==$(LOWEST).*' >> $@)

$(VENV)/.package: $(VENV)/.python $(VENV)/constraints.txt pyproject.toml
	@echo "Installing the package into $(VENV); the first time takes some minutes."
	$(PIP) --editable .
	@touch $@

# scikit-image, for its photographs.
$(VENV)/.demo: $(VENV)/.package
	$(PIP) --editable ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	$(PIP) --editable ".[dev]"
	@touch $@

# gradio wants an older Pillow than the tests, so it lies in an environment of its own, which sees the packages of $(VENV)
# behind its own.
$(VENV)-app/.ready: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)-app
	packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  behind=$$($(BIN)/python -c "$$packages") && own=$$($(VENV)-app/bin/python -c "$$packages") && \
	  echo "import site; site.addsitedir('$$behind')" > "$$own/behind.pth"
	$(VENV)-app/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) "gradio>=6,<7" playwright
	@touch $@

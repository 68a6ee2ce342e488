# Every target sets up what it needs: a virtual environment in .venv with the pinned packages.
# Needed on the machine: make and Python >= 3.11 (PYTHON=/path/to/python chooses one).

VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/dreamdiffusion
STAMP  := $(VENV)/.installed
PYTHONS := $(strip $(PYTHON) python3.11 python3.12 python3.13 python3 python)
# Small tests lose more to threads that wait for each other than they gain from them.
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs weights bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP)  ## decode simulated EEG with the bundled weights into runs/demo
	$(RUN) demo

test: $(STAMP)  ## run all tests (real recordings too where ../shared/data exists)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(TEST_WORKERS)

lint: $(STAMP)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## check types
	$(BIN)/pyright

docs: $(STAMP)  ## regenerate docs/cli.md
	$(BIN)/python -c "from dreamdiffusion.cli import reference; print(reference(), end='')" > docs/cli.md

# Training goes on where it was stopped; recordings are written anew. finetune reads the generator
# from weights/, so that the bundled model names the bundled generator.
weights: $(STAMP)  ## remake weights/ from nothing (hours on 2 cores, minutes on a GPU)
	rm -rf runs/scenes-person runs/scenes-people runs/scenes-trials runs/scenes-windows
	$(RUN) simulate --output runs/scenes-person --n_runs 10
	$(RUN) simulate --output runs/scenes-people --first_subject 2 --n_subjects 10 --n_runs 3
	$(RUN) prepare --config configs/prepare-scenes.yaml
	$(RUN) prepare --config configs/prepare-scenes-windows.yaml
	$(RUN) train-judge --config configs/judge-scenes.yaml
	$(RUN) train-generator --config configs/generator-scenes.yaml
	mkdir -p weights/judge
	cp runs/judge-scenes/config.json runs/judge-scenes/*.safetensors weights/judge/
	rm -rf weights/scenes-generator
	cp -r runs/generator-scenes/generator weights/scenes-generator
	$(RUN) pretrain --config configs/pretrain-scenes.yaml
	$(RUN) finetune --config configs/finetune-scenes.yaml
	$(RUN) evaluate --config configs/evaluate-scenes.yaml

bench: $(STAMP)  ## run the benchmarks
	@for file in benchmarks/*.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

clean:  ## remove the environment and caches, keep runs/
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

# The stamp is written last, so an installation that was interrupted starts again.
$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for name in $(PYTHONS); do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python="$$name"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python >= 3.11 with the venv module found (tried $(PYTHONS));" \
	       "install one, or name it: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$python --version)"; \
	"$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

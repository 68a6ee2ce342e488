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
.PHONY: help demo test fuzz lint types docs site weights bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(STAMP)  ## decode simulated EEG with the bundled weights into runs/demo
	$(RUN) demo

test: $(STAMP)  ## run all tests (real recordings too where ../shared/data exists)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(TEST_WORKERS)

fuzz: $(STAMP)  ## read 2,000 mutated files of every format (make test reads 200)
	PYTHONPATH=src $(BIN)/python tests/support/reader_fuzz.py --count 2000

lint: $(STAMP)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## check types
	$(BIN)/pyright

docs: $(STAMP)  ## regenerate docs/cli.md, datasets.md, protocols.md and scores.schema.json
	$(BIN)/python -c "from dreamdiffusion.cli.commands import reference; print(reference(), end='')" > docs/cli.md
	$(BIN)/python -c "from dreamdiffusion.datasets.command import page; print(page(), end='')" > docs/datasets.md
	$(BIN)/python -c "from dreamdiffusion.evidence.protocols.command import protocols_page; print(protocols_page(), end='')" > docs/protocols.md
	$(BIN)/python -c "from dreamdiffusion.evidence.scores import json_schema; print(json_schema(), end='')" > docs/scores.schema.json

site: $(VENV)/.docs  ## build the documentation site into docs/_build/html; warnings are errors
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo docs/_build/html/index.html

weights: $(STAMP)  ## remake weights/ from nothing (hours; in runs/weights); goes on where it was stopped
	$(BIN)/python scripts/make_weights.py

bench: $(STAMP)  ## measure generator, simulation, audit, windows, metrics, and the schedule of work (half an hour, 20 GB)
	$(BIN)/python benchmarks/generator.py
	$(BIN)/python benchmarks/decodability.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/schedule.py

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

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	@touch $(VENV)/.docs

# Two commands: `make reproduce` runs the experiments, `make test` checks the code. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := venv

# Settings of a run: make reproduce PROFILE=paper DATA="samm=/data/samm casme2=/data/casme2" RUN=mine SEED=1
DATA ?=
PROFILE ?= $(if $(strip $(DATA)),paper,demo)
RUN ?=
SEED ?= 0
STYLE ?=
# Of `make lock`: UPGRADE= keeps the versions that still fit.
UPGRADE ?= --upgrade

# The small environment: make CPU=1 PIP_EXTRA_INDEX=URL. A `.venv` that was made so stays so.
CPU ?= $(if $(wildcard .venv/.cpu),1)
PIP_EXTRA_INDEX ?=

# The first interpreter that really is 3.11; a pyenv shim may carry the name and not start.
IS_311 := import sys; raise SystemExit(sys.version_info[:2] != (3, 11))
ifndef PYTHON
PYTHON = $(shell for p in python3.11 python3; do $$p -c '$(IS_311)' 2>/dev/null && echo $$p && break; done)
endif
BIN := .venv/bin
LOCK := requirements$(if $(CPU),-cpu).lock
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK_VENV := build/lock-venv

.PHONY: venv reproduce test test-long test-fuzz figures predictor docs croissant lint lock clean help

venv: .venv/.stamp  ## create or repair .venv from requirements.lock (the default), or with CPU=1 the small one

# pip writes a package's RECORD last, so a package without one is what an interrupted install left behind.
# Matplotlib lists the machine's fonts once; on a slow machine it would say so in the first notebook that draws.
.venv/.stamp: $(LOCK) pyproject.toml
	@if [ -n "$(CPU)" ] && [ -z "$(PIP_EXTRA_INDEX)$${PIP_EXTRA_INDEX_URL:-}" ] && [ ! -e .venv/.cpu ]; then \
	    echo "CPU=1 needs PIP_EXTRA_INDEX: the address of the package index with torch's processor builds, which PyTorch's" \
	         "own page on installing it names" >&2; exit 1; fi
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(IS_311)' 2>/dev/null; then \
	    echo "melib needs Python 3.11 with venv; $(if $(PYTHON),$(PYTHON) isn't that,none was found on PATH):" \
	         "install it or name it, as in make PYTHON=/usr/bin/python3.11" >&2; exit 1; fi
	@if ! $(BIN)/python -c '$(IS_311)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "creating .venv"; $(PYTHON) -m venv --clear .venv; fi
	@find .venv/lib -maxdepth 3 -type d -name '*.dist-info' ! -exec test -e {}/RECORD \; -print -exec rm -rf {} +
	@echo "installing $(LOCK) (some minutes the first time)"
	@$(PIP) install $(if $(CPU),--no-compile $(if $(PIP_EXTRA_INDEX),--extra-index-url "$(PIP_EXTRA_INDEX)"),--require-hashes) -r $(LOCK)
	@$(PIP) install --no-deps -e .
	@$(BIN)/python -c 'import matplotlib.font_manager'
	@$(if $(CPU),touch .venv/.cpu)
	@touch $@
	@echo "ready; to begin with: $(BIN)/melib first"

reproduce: .venv/.stamp  ## run the notebooks at PROFILE into runs/RUN, report included
	@$(BIN)/melib run --profile "$(PROFILE)" --seed "$(SEED)" $(if $(RUN),--run "$(RUN)") \
	    $(foreach pair,$(DATA),--data "$(pair)")

# Files that take minutes begin first (tests/conftest.py). The whole run that tests look at stays in build/runs for test-long.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/.stamp lint  ## the fast tests, and every notebook at profile smoke
	@rm -rf build/runs
	@$(PYTEST) -m "not long and not browser"

test-long: .venv/.docs  ## faults, many processes, the README from top to bottom, browser
	@$(PYTEST) -m "long or browser" -rs --durations=15

test-fuzz: .venv/.stamp  ## thousands of broken tables and manifests, of which the fast tests run a twentieth
	@FUZZ_SHARE=1 $(BIN)/python -m pytest tests/test_fuzz.py -n 2 --durations=5

figures: .venv/.stamp  ## redraw the figures of RUN from its results, in another journal's STYLE too, and write its tables
	@$(BIN)/melib figures "$(if $(RUN),$(RUN),$(PROFILE))" $(if $(STYLE),--style "$(STYLE)")

predictor: .venv/.stamp  ## train the weights that melib predict ships: more videos for RUN, whose notebooks have finished
	@$(BIN)/python -m melib.app.predictor_training "$(if $(RUN),$(RUN),demo)"

docs: .venv/.docs  ## the site, with the notebooks of RUN or of the newest finished run, into build/site
	@$(BIN)/python docs/site/build.py $(if $(RUN),"$(RUN)")

.venv/.docs: .venv/.stamp requirements-docs.lock
	@$(PIP) install --require-hashes -r requirements-docs.lock
	@touch $@

croissant:  ## validate the description of the simulated clips, by mlcroissant in an environment of its own
	@rm -rf build/croissant && $(PYTHON) -m venv build/croissant
	@build/croissant/bin/python -m pip install --quiet --disable-pip-version-check mlcroissant
	@build/croissant/bin/mlcroissant validate --jsonld data_manifests/synthme.croissant.json

lint: .venv/.stamp  ## style, formatting, types, notebooks without outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

# Hashes are those of every file of a version, whatever the processor. CUDA's packages exist for Linux only. The processor build
# of torch has a version of its own there, on an index that isn't everybody's: its hash isn't known here, and pip checks the
# hashes of all packages or of none.
UV = $(LOCK_VENV)/bin/uv pip compile --quiet --python-version 3.11 --python-platform linux --no-annotate --no-header
CUDA_PACKAGES := (nvidia|cuda|triton)[a-z0-9-]*
lock:  ## resolve pyproject.toml anew into requirements.lock, requirements-docs.lock and requirements-cpu.lock
	@rm -rf $(LOCK_VENV) && $(PYTHON) -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) $(UPGRADE) --generate-hashes --extra dev --output-file requirements.lock pyproject.toml
	@sed -i -E 's/^($(CUDA_PACKAGES)==[^ ]+) /\1 ; sys_platform == "linux" /' requirements.lock
	@$(PYTHON) -c 'import tomllib; \
	    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
	    | $(UV) $(UPGRADE) --generate-hashes --constraint requirements.lock --output-file requirements-docs.lock -
	@$(UV) --extra dev --constraint requirements.lock pyproject.toml | sed -E -e '/^$(CUDA_PACKAGES)==/d' -e \
	    's/^(torch|torchvision)==(.*)$$/\1==\2 ; sys_platform != "linux"\n\1==\2+cpu ; sys_platform == "linux"/' \
	    > $(LOCK_VENV)/cpu && mv $(LOCK_VENV)/cpu requirements-cpu.lock
	@for lock in requirements*.lock; do \
	    sed -i "1i # What melib is run and tested with (Python 3.11): made by 'make lock', installed by 'make'." $$lock; done
	@rm -rf $(LOCK_VENV)
	@echo "the locks are new; 'make test' tells whether they still work"

clean:  ## remove what tools leave behind; .venv and runs stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14
	@echo
	@echo "PROFILE=$(PROFILE) (smoke, demo, five, paper)  DATA='name=folder ...'  RUN=name or path  SEED=$(SEED)"

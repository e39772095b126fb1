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

# The first interpreter that really is 3.11; a pyenv shim may carry the name and not start.
IS_311 := import sys; raise SystemExit(sys.version_info[:2] != (3, 11))
ifndef PYTHON
PYTHON = $(shell for p in python3.11 python3; do $$p -c '$(IS_311)' 2>/dev/null && echo $$p && break; done)
endif
BIN := .venv/bin
LOCK_VENV := build/lock-venv

.PHONY: venv reproduce test test-long test-fuzz figures predictor docs lint lock clean help

venv: .venv/.stamp  ## create or repair .venv from requirements.lock (the default)

# pip writes a package's RECORD last, so a package without one is what an interrupted install left behind.
# Matplotlib lists the machine's fonts once; on a slow machine it would say so in the first notebook that draws.
.venv/.stamp: requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(IS_311)' 2>/dev/null; then \
	    echo "melib needs Python 3.11 with venv; $(if $(PYTHON),$(PYTHON) isn't that,none was found on PATH):" \
	         "install it or name it, as in make PYTHON=/usr/bin/python3.11" >&2; exit 1; fi
	@if ! $(BIN)/python -c '$(IS_311)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "creating .venv"; $(PYTHON) -m venv --clear .venv; fi
	@find .venv/lib -maxdepth 3 -type d -name '*.dist-info' ! -exec test -e {}/RECORD \; -print -exec rm -rf {} +
	@echo "installing requirements.lock (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@$(BIN)/python -c 'import matplotlib.font_manager'
	@touch $@

reproduce: .venv/.stamp  ## run the notebooks at PROFILE into runs/RUN, report included
	@$(BIN)/melib run --profile "$(PROFILE)" --seed "$(SEED)" $(if $(RUN),--run "$(RUN)") \
	    $(foreach pair,$(DATA),--data "$(pair)")

test: .venv/.stamp lint  ## the fast tests, then every notebook at profile smoke
	@$(BIN)/python -m pytest -n 2 --dist loadfile
	@$(BIN)/python -m pytest -m "notebook and not long and not browser"

test-long: .venv/.stamp  ## faults, many processes, the README from top to bottom, browser
	@$(BIN)/python -m pytest -m "long or browser" -rs --durations=15

test-fuzz: .venv/.stamp  ## thousands of broken tables and manifests, of which the fast tests run a twentieth
	@FUZZ_SHARE=1 $(BIN)/python -m pytest tests/test_fuzz.py -n 2 --durations=5

figures: .venv/.stamp  ## redraw the figures of RUN from its results, in another journal's STYLE too, and write its tables
	@$(BIN)/melib figures "$(if $(RUN),$(RUN),$(PROFILE))" $(if $(STYLE),--style "$(STYLE)")

predictor: .venv/.stamp  ## train the weights that melib predict ships: more videos for RUN, whose notebooks have finished
	@$(BIN)/python -m melib.app.predictor_training "$(if $(RUN),$(RUN),demo)"

docs: .venv/.stamp  ## the API reference, from the docstrings, into build/api
	@$(BIN)/pdoc --docformat numpy --no-show-source --output-directory build/api \
	    melib $$(find melib -name '*.py' ! -name '_*' -o -path 'melib/*/__init__.py' | sed -E 's#(/__init__)?\.py$$##; s#/#.#g' | sort)
	@echo build/api/index.html

lint: .venv/.stamp  ## style, formatting, types, notebooks without outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

# CUDA's packages exist for Linux only, whatever machine the lock is made on.
lock:  ## resolve pyproject.toml anew into requirements.lock
	@rm -rf $(LOCK_VENV) && $(PYTHON) -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	@sed -n '/^#/p' requirements.lock > $(LOCK_VENV)/lock
	@$(LOCK_VENV)/bin/python -m pip freeze --all | grep -vE '^(pip|melib)( |=)' \
	    | sed -E 's/^((nvidia-|cuda-|triton).*)$$/\1 ; sys_platform == "linux"/' >> $(LOCK_VENV)/lock
	@mv $(LOCK_VENV)/lock requirements.lock && rm -rf $(LOCK_VENV)
	@echo "requirements.lock is new; 'make test' tells whether it still works"

clean:  ## remove what tools leave behind; .venv and runs stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14
	@echo
	@echo "PROFILE=$(PROFILE) (smoke, demo, paper)  DATA='name=folder ...'  RUN=name or path  SEED=$(SEED)"

# Needs Python 3.11 or newer, git and make; everything else is put into .venv from requirements.lock.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp
# The checks run side by side; where make can, each one's output is kept together.
ABREAST := $(MAKE) --no-print-directory --keep-going --jobs=4 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Bytecode is kept even where the machine says otherwise: each of the many processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup check lint format types contracts house test sim chaos demo lab bench sdks lock image

help:
	@echo "make setup   put everything into .venv; ends with $(BIN)/tenantry"
	@echo "make check   ruff, mypy, import contracts and house tests, in under a minute"
	@echo "make test    check, then every test"
	@echo "make sim     the seeded simulation: SEEDS=2000 of them (FIRST=0), with a table"
	@echo "make chaos   kills under load: KILLS=300 MESSAGES=150000 SEED=1, PAUSES=1000, starts with WAITING=100000; with tables"
	@echo "make demo    the main job on one machine, live"
	@echo "make bench   the performance table"
	@echo "make sdks    the local SES against the AWS CLI and the AWS SDK for JavaScript, fetched into the user's cache"
	@echo "make lab     the guard in simulation: 10,000 tenants for 30 days, the table of docs/guard.md, and lab.html"
	@echo "make image   the steps of deploy/Dockerfile in a folder, without Docker"
	@echo "make format  let ruff rewrite the layout of the source"
	@echo "make lock    write requirements.lock and deploy/*.lock anew from pyproject.toml"

setup: $(STAMP)
	@:

# uv is quicker by minutes; where it cannot be had, pip reads the same hashed file.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tenantry needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 setup"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if test -x $(BIN)/uv || $(BIN)/python -m pip install -qq uv; then \
		export VIRTUAL_ENV="$(CURDIR)/.venv"; \
		$(BIN)/uv pip sync --quiet --require-hashes requirements.lock && \
		$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .; \
	else \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock && \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	fi
	@$(BIN)/tenantry --help >/dev/null
	@touch $@
	@echo "ready: $(BIN)/tenantry"

check: setup
	@$(ABREAST) lint types contracts house
	@echo "check: all good"

lint:
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check .

format: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

types:
	@$(BIN)/mypy --strict --no-error-summary src

contracts:
	@$(BIN)/lint-imports --no-logo

house:
	@$(BIN)/python -m pytest -q tests/house

test: check
	@$(BIN)/python -m pytest -n 2

SEEDS ?= 2000
FIRST ?= 0
sim: setup
	@$(BIN)/python -m tests.simulation.play --seeds $(SEEDS) --first $(FIRST)

KILLS ?= 300
MESSAGES ?= 150000
PAUSES ?= 1000
WAITING ?= 100000
SEED ?= 1
chaos: setup
	@$(BIN)/python -m tests.chaos --kills $(KILLS) --messages $(MESSAGES) --seed $(SEED)
	@$(BIN)/python -m tests.chaos --kills 0 --pauses $(PAUSES) --messages 40000 --seed $(SEED)
	@$(BIN)/python -m tests.chaos --waiting $(WAITING)

demo: setup
	@if test -t 1; then $(BIN)/tenantry demo; else $(BIN)/tenantry demo --exit; fi

LAB ?= --seed 1 --tenants 10000 --trials 1000 --fleets 40 --report lab.html
lab: setup
	@$(BIN)/tenantry simulate $(LAB)

bench: setup
	@$(BIN)/python -m bench

sdks: setup
	@$(BIN)/python -m bench.neighbours
	@$(BIN)/python -m pytest -q -rs tests/emulator/test_sdks.py

image: setup
	@$(BIN)/python -m tests.deploy.image

# The locks hold hashes but no address, so that they can be read through any index.
# Those of deploy/ are parts of it: what runs in an image, and what makes the wheel there.
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --constraint requirements.lock
lock: setup
	@$(BIN)/uv pip compile pyproject.toml --quiet --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml $(LOCKED) --output-file deploy/requirements.lock
	@echo hatchling | $(BIN)/uv pip compile - $(LOCKED) --output-file deploy/build.lock
	@if grep -nE '://|^-|^[[:space:]]*/' requirements.lock deploy/*.lock; then \
		echo "a lock names an address or a path of this machine"; exit 1; fi

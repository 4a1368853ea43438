# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`; while working,
# `make test-fast`.
# Each sets up what it needs and says what it skips. PYTHON=/path/to/python3.12 chooses the interpreter,
# PYTEST_OPTIONS="--durations=20" is given to pytest as well.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Where the environment sets it, each of the tests' many short processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# Wheels only: a source distribution runs its own code to build. Empty it on a platform without wheels.
WHEELS := --only-binary :all:
# What the other environments repeat: everything but the long runs (crashes, concurrency, properties).
UNIT_TESTS := $(wildcard tests/unit tests/contracts)
WORKERS := auto
# A repository syncs each of its commits: the whole suite writes in memory where 4 GiB of it are to be had.
# The runs of the other environments write on the disk.
MEMORY := /dev/shm
TYPED := src tests migrations requirements tools examples $(if $(wildcard bench/*.py),bench)
UV_VERSION := 0.13.9

# $(call environment,FOLDER,VERSIONS,LOCKED SET): an environment of exactly the locked set, and the project
# itself, editable. Nothing is fetched but what the set names: hatchling is part of it. The sets are whole,
# so pip resolves nothing (with extras, older ones reach for releases that no hash is for); it checks.
define environment
	@python=$$(.ci/find-python $(2)) || { \
	  echo "sealstore needs Python $(if $(filter any,$(2)),3.11 or newer,$(2)) here. Install it (on Debian:" >&2; \
	  echo "python3 and python3-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	  exit 1; }; \
	echo "$(1): $$("$$python" --version), requirements/$(3).txt"; \
	"$$python" -m venv --clear $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --require-hashes $(WHEELS) -r requirements/$(3).txt
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --no-index --editable .
	@$(1)/bin/python -m pip check --quiet
	@touch $@
endef

# $(call in_memory,COMMAND): run it with a folder of its own for temporary files, in memory if there is room.
define in_memory
	@free=$$(df -Pk $(MEMORY) 2>/dev/null | awk 'NR == 2 { print $$4 }'); folder=$${TMPDIR:-/tmp}; \
	if [ -w $(MEMORY) ] && [ "$${free:-0}" -ge 4194304 ]; then folder=$(MEMORY); fi; \
	TMPDIR=$$(mktemp -d "$$folder/sealstore-tests.XXXXXX"); export TMPDIR; chmod 711 "$$TMPDIR"; \
	echo "pytest writes in $$TMPDIR"; \
	trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(1)
endef

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' Makefile

# ── environments: made once, and again when what they are made of changes ──

.PHONY: venv
venv: .venv/.installed ## make .venv with the current locked set and sealstore, editable

.venv/.installed: requirements/current.txt pyproject.toml
	$(call environment,.venv,3.11 3.12 3.13 any,current)

.venvs/lowest/.installed: requirements/lowest.txt pyproject.toml
	$(call environment,.venvs/lowest,3.11,lowest)

.venvs/lowest-sqlalchemy2/.installed: requirements/lowest-sqlalchemy2.txt pyproject.toml
	$(call environment,.venvs/lowest-sqlalchemy2,3.11,lowest-sqlalchemy2)

.venvs/3.12/.installed: requirements/current.txt pyproject.toml
	$(call environment,.venvs/3.12,3.12,current)

.venvs/3.13/.installed: requirements/current.txt pyproject.toml
	$(call environment,.venvs/3.13,3.13,current)

# ── what people run ──

.PHONY: demo
demo: venv ## train, store, verify and load a model; then see tampering refused
	@$(BIN)/python examples/demo.py

.PHONY: test
test: lint ## ruff, mypy, import-linter, then every test with branch coverage
	$(call in_memory,$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
	  --cov --cov-report=term-missing:skip-covered --critical-coverage $(PYTEST_OPTIONS))

.PHONY: test-fast
test-fast: venv ## for daily work: all but faults, storms and large matrices; few examples, no coverage
	$(call in_memory,HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
	  -m "not large" --ignore=tests/faults $(PYTEST_OPTIONS))

.PHONY: bench
bench: venv ## measure against plain joblib, as ratios; PARTS="load-and-store lookup" chooses
	@$(BIN)/python -m bench $(PARTS)

.PHONY: lint
lint: venv ## ruff, mypy --strict, import-linter
	@echo "ruff check";   $(BIN)/ruff check --quiet .
	@echo "ruff format";  $(BIN)/ruff format --quiet --check .  || { $(BIN)/ruff format --diff .; exit 1; }
	@echo "mypy";         $(BIN)/mypy --no-error-summary $(TYPED)
	@echo "lint-imports"; $(BIN)/lint-imports --no-logo

.PHONY: format
format: venv ## format the code and apply ruff's safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: test-lowest
test-lowest: .venvs/lowest/.installed ## unit tests with the lowest versions that pyproject.toml allows
	@.venvs/lowest/bin/python -m pytest -n $(WORKERS) $(UNIT_TESTS)

.PHONY: test-lowest-sqlalchemy2
test-lowest-sqlalchemy2: .venvs/lowest-sqlalchemy2/.installed ## the same on the lowest SQLAlchemy 2
	@.venvs/lowest-sqlalchemy2/bin/python -m pytest -n $(WORKERS) $(UNIT_TESTS)

.PHONY: test-3.12
test-3.12: .venvs/3.12/.installed ## unit tests with the current versions on Python 3.12
	@.venvs/3.12/bin/python -m pytest -n $(WORKERS) $(UNIT_TESTS)

.PHONY: test-3.13
test-3.13: .venvs/3.13/.installed ## unit tests with the current versions on Python 3.13
	@.venvs/3.13/bin/python -m pytest -n $(WORKERS) $(UNIT_TESTS)

.PHONY: wheel
wheel: venv ## build wheel and source distribution into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist

.PHONY: lock
lock: ## make requirements/*.txt again from pyproject.toml
	@python=$$(.ci/find-python 3.11 3.12 3.13 any); "$$python" -m venv --clear .venvs/lock
	@.venvs/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) packaging
	@.venvs/lock/bin/python requirements/lock.py

.PHONY: clean
clean: ## remove environments, caches and builds
	rm -rf .venv .venvs build dist htmlcov .coverage .coverage.* .hypothesis \
	  .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find bench docs migrations requirements src tests -name __pycache__ -type d -prune -exec rm -rf {} +

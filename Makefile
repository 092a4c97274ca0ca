# Plain `python3` and `make` are all that a fresh machine needs: every target sets up `.venv` itself.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# More than there are cores: many tests wait for a lease to end, a process to start, a browser.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format bench chaos lock clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Everything into .venv, at the pinned versions

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Session Tasks needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## The main job, on the real files in examples/
	$(BIN)/session-tasks run examples/*.md examples/*.csv --out out --project DEMO

test: install  ## The tests, in parallel
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 20

test-all: install  ## The long ones too, and more steps of those that go on at random
	SESSION_TASKS_TEST_STEPS=10400 SESSION_TASKS_TEST_ORM_STEPS=10000 \
		$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 20 -m ''

lint: install  ## Style, types, direction of the imports, plain English
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/plain_english.py

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install  ## Figures, as ratios within one run
	$(BIN)/python -m benchmarks

chaos: install  ## The promises against a hostile machine, whole (the short form is in `make test`)
	$(BIN)/python -m chaos

lock: install  ## Newest versions that pyproject.toml allows, pinned
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-emit-index-url \
		--no-header --no-annotate --all-extras --group dev pyproject.toml --output-file requirements.lock

clean:  ## Remove what was installed and built
	rm -rf .venv out dist build

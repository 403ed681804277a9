# The lines of README.md and .ci/run by name: `make check` is what a change must pass. Without make, use these lines.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python

.PHONY: install test long light engines lint types docs pictures bench check

install: # everything that tests and linters need
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e ".[test,lint]"
	$(RUN) tests/prepare.py

test: # all tests but those that take long
	$(RUN) -m pytest -q -n 2 --dist loadfile

long: # the tests that take long
	$(RUN) -m pytest -q -n 2 --dist loadfile --long

light: # the tests that need no torch, weights, gradio or framework
	$(RUN) -m pytest -q -n 2 --dist loadfile --light

engines: # the tests of stores, object storage and Ray clusters, with their packages in an environment of their own
	.ci/engines

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

docs: # what is made from the code: docs/python-api.md, and parts of other pages (docs/generate.py names them)
	$(RUN) docs/generate.py

pictures: # examples/found.png and examples/browser*.png; needs chromium
	$(RUN) tests/screenshot.py

FOLDER ?= build/manuals
bench: # the two tables of the README; 550 MB of manuals are fetched into FOLDER, once
	$(BIN)/pip install -q -e ".[bench]"
	$(RUN) tests/benchmarks/quality.py $(FOLDER)
	$(RUN) tests/benchmarks/engines.py $(FOLDER) --only exact ragged

check: # all of it, in the environment and on the Pythons that it finds
	.ci/run

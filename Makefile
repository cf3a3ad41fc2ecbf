# Runyard. `make` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -W error -q

.PHONY: help setup system clients oracles fmt lint check test test-all demo bench proto

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/' | expand -t 12

setup: .venv/ready ## a virtual environment with Runyard and its tools

.venv/ready: pyproject.toml constraints/dev.txt constraints/uv.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r constraints/uv.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r constraints/dev.txt
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python scripts/warm.py
	touch $@

system: ## Debian packages the tests and the sandbox use (needs root; skipped otherwise)
	@bash scripts/system.sh

clients: setup ## the vendors' own clients, for the demo and the client tests
	@bash scripts/clients.sh
	@bash scripts/oracle.sh

oracles: setup ## other people's data diffs, which ours is checked against
	@bash scripts/oracles.sh || echo "!! reladiff and datacompy cannot be fetched: tests against them will be skipped" >&2

fmt: setup ## format and fix
	$(BIN)/ruff format src tests bench examples
	$(BIN)/ruff check --fix src tests bench examples

lint: setup ## what a machine can judge
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/ruff check src tests bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell -L convertor,convertors src docs bench examples *.md

check: lint ## lint and the fast tests, under a minute
	$(PYTEST) -n 2 -m "not slow and not browser and not client and not root" tests

test: system setup clients oracles lint ## everything but the long batteries
	@rm -rf .venv/tests
	$(PYTEST) -n 2 --dist loadgroup -m "not slow" tests || bash scripts/again.sh $(PYTEST) -n 0 tests

test-all: system setup clients oracles lint ## everything
	$(PYTEST) -n 2 --dist loadgroup tests

demo: system setup clients ## start the server, run one job through each of the four doors, show a table
	$(BIN)/python examples/demo.py

bench: system setup ## figures as ratios to a floor measured in the same run
	$(BIN)/python -m bench

proto: setup ## regenerate the Depot codecs
	bash scripts/proto.sh

# Two commands set everything up on a fresh machine: `make up` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),.tools/bin/uv)
COUNT ?=
IMAGES ?=

.PHONY: help env up browser pictures test test-heavy lint format bench checkpoint lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(VENV)/installed ## .venv with the tidegate command, the CPU engine and the test tools

.tools/bin/uv:
	@echo "tidegate: uv is missing, installing $(UV_VERSION) into .tools"
	@python3 -m venv .tools || { echo "python3 needs its venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/installed: requirements/dev.txt pyproject.toml | $(filter .tools/bin/uv,$(UV))
	@echo "tidegate: installing the environment (6 GB the first time, half a minute to a few minutes)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14' $(VENV)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --quiet --require-hashes requirements/dev.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

up: env ## the whole system on embedded parts: broker, Valkey, worker on real vLLM, a feeder of scenes
	@$(BIN)/tidegate up --uncertified-threshold 0.9 $(if $(COUNT),--count $(COUNT) --plain) $(if $(IMAGES),--images $(IMAGES))

# The console is tested in a real browser, Debian's own.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		echo "tidegate: Chromium is missing, installing it with apt-get"; \
		$(if $(filter 0,$(shell id -u)),,sudo) apt-get update -qq && \
		$(if $(filter 0,$(shell id -u)),,sudo) apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

test: env browser ## every test that CI runs, in two processes
	@$(BIN)/pytest --numprocesses 2 --dist loadscope

test-heavy: env ## the long runs: many kills, everything in any order, a served vLLM
	@$(BIN)/pytest -m heavy

lint: env ## ruff, formatting, mypy --strict
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: env ## rewrite in the house style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: env ## what the README claims, one JSON line each
	@$(BIN)/tidegate bench calibration
	@$(BIN)/tidegate bench certificate
	@$(BIN)/tidegate bench console
	@$(BIN)/tidegate bench loop
	@$(BIN)/tidegate bench gate
	@$(BIN)/tidegate bench overhead
	@$(BIN)/tidegate bench queue
	@$(BIN)/tidegate bench signals
	@$(BIN)/tidegate bench training
	@$(BIN)/tidegate bench what-if
	@$(BIN)/tidegate bench worker

pictures: env browser ## of every page of the console, for the documentation
	@$(BIN)/python -m tests.review.console.pictures docs/pictures

checkpoint: env ## train the tiny checkpoint again, all three stages (a quarter of an hour on two cores)
	@$(BIN)/tidegate train all var/tiny --config tiny --out training/checkpoint

# One file for each environment, without index addresses: any mirror serves them, the hashes say what is right.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --no-header --generate-hashes
CPU = --override requirements/overrides.txt --extra cpu --extra train --extra console --extra embedded
lock: | $(filter .tools/bin/uv,$(UV)) ## pin the requirement files again
	$(COMPILE) -o requirements/base.txt pyproject.toml
	$(COMPILE) --extra console -o requirements/console.txt pyproject.toml
	$(COMPILE) --extra gpu -o requirements/gpu.txt pyproject.toml
	$(COMPILE) --extra rollouts --extra train -o requirements/train-gpu.txt pyproject.toml
	$(COMPILE) $(CPU) -o requirements/cpu.txt pyproject.toml
	$(COMPILE) $(CPU) --group dev -o requirements/dev.txt pyproject.toml

clean: ## remove the environment and caches
	@rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis dist *.egg-info

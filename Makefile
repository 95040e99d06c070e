# Needs Python 3.11 or newer, git and GNU make; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
JOBS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

RUN := .venv/bin/python
STAMP := .venv/.installed
PEERS := .venv/.peers
# One numerical thread per worker process: the workers are the parallelism.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help report report-full test test-slow bench lint docs clean

help:
	@echo 'make report     what holds, in minutes: results/report/index.html'
	@echo 'make report-full  the same with every study at its full size, in hours'
	@echo 'make test       the tests that take seconds'
	@echo 'make test-slow  the tests that take minutes'
	@echo 'make bench      this project beside what a user would pick instead'
	@echo 'make lint       ruff and mypy'
	@echo 'make docs       the documentation: results/docs/index.html'
	@echo 'make clean      remove .venv, results and caches'
	@echo 'PYTHON=...      the Python (3.11 or newer) that makes .venv'

$(STAMP): pyproject.toml constraints.txt
	@python='$(PYTHON)'; \
	if [ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "make: no Python 3.11 or newer found$${python:+ as $$python}; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "setting up .venv with $$("$$python" --version)"; \
	if ! log=$$("$$python" -m venv --clear .venv 2>&1); then \
	    echo "$$log" >&2; echo "make: '$$python -m venv' failed (Debian and Ubuntu: install python3-venv)" >&2; exit 1; \
	fi
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

report: $(STAMP)
	@status=0; $(RUN) -m analysis report --jobs $(JOBS) || status=$$?; \
	$(RUN) -m figures report || status=$$?; exit $$status

report-full: $(STAMP)
	@$(RUN) -m analysis all --full
	@$(RUN) -m figures all
	@$(RUN) -m figures report

test: $(STAMP)
	@$(ONE_THREAD) $(RUN) -m pytest -n $(JOBS) --dist loadfile -q $(PYTEST_ARGS)

test-slow: $(STAMP)
	@$(ONE_THREAD) $(RUN) -m pytest -n $(JOBS) -q -m slow $(PYTEST_ARGS)

# The peers are large and only measured against: without them the table says which rows are missing.
$(PEERS): $(STAMP)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]' && touch $@ \
	    || echo 'make: extra peers not installed; their rows will say so' >&2

bench: $(STAMP) $(PEERS)
	@$(ONE_THREAD) $(RUN) -m benchmarks $(BENCH_ARGS)

lint: $(STAMP)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

docs: $(STAMP)
	@$(RUN) -m sam_theory.diagonal.derivation --check
	@$(RUN) -m sphinx -b html -W --keep-going -q docs results/docs
	@echo 'results/docs/index.html'

clean:
	rm -rf .venv results docs/_made build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

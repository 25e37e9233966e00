# make reproduce and make test are all the set-up there is: each makes .venv first, from nothing.
# Paths are relative, since make takes a blank in the checkout's own path for the end of a name.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PRESET ?= quick
JOBS ?= 2
# pip install --user does not work in a virtual environment
export PIP_USER := 0

ifneq ($(words $(VENV)),1)
$(error VENV must be a path without blanks, not "$(VENV)")
endif

.PHONY: help setup reproduce report test soak lint bench clean verify demo

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1 — /p' Makefile

setup: $(VENV)/.ready  ## makes .venv from nothing; the others do that first

$(VENV)/.ready: requirements.txt constraints.txt pyproject.toml
	@mkdir -p $(VENV) 2> /dev/null && test -w $(VENV) || { echo 'error: $(VENV) cannot be written; in a read-only checkout: make VENV=/tmp/venv reproduce REPRODUCE="--data_root /tmp/data --log_root /tmp/logs --figure_root /tmp/figures"' >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

reproduce: setup  ## JOBS=2 commands side by side of PRESET=quick (synthetic data, minutes), small, evidence, full, report or paper; REPRODUCE="--log_root ..." adds flags
	$(PY) reproduce.py --preset $(PRESET) --jobs $(JOBS) $(REPRODUCE)

report: setup  ## the page figures/report.html, docs/REPORT.md and benchmarks/RESULTS.md, from the logs
	$(PY) report.py

test: setup  ## the tests, minutes on two cores; ends in any case
	$(PY) -m pytest

soak: setup  ## all tests, and the long forms of the fault campaign, the fuzz tests and the quick preset
	$(PY) tests/faults/campaign.py --kills 20
	SOAK=1 $(PY) -m pytest -m "slow or not slow"

lint: setup  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

$(VENV)/.demo: $(VENV)/.ready requirements-demo.txt
	$(PY) -m pip install --quiet -r requirements-demo.txt -c constraints.txt
	touch $@

demo: $(VENV)/.demo  ## a local page to draw, sample and translate on; DEMO="--protonet CHECKPOINT" takes your own networks
	$(PY) demo.py $(DEMO)

verify: setup  ## measures the networks in pretrained/ on the real data, beside the committed numbers
	$(PY) reproduction/verify.py

bench: setup  ## four races against plain versions; their table goes to benchmarks/RESULTS.md and the page. BENCH="--device cuda --compile"
	$(PY) benchmarks/race.py protonet --save $(BENCH)
	$(PY) benchmarks/race.py dcgan --save $(BENCH)
	$(PY) benchmarks/race.py pix2pix --save $(BENCH)
	$(PY) benchmarks/race.py darts --save $(filter-out --compile,$(BENCH))  # which takes too long to make
	$(PY) report.py

clean:  ## what can be made again; runs, data and figures stay
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

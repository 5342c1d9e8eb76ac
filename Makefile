# Every target makes its own virtual environment (.venv) when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIENTS := .venv-clients
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test test-slow test-clients wheel-test lint format docs bench results presets clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

setup: $(STAMP)  ## Make the virtual environment

demo: $(STAMP)  ## Train real language models under seven data mixers: table, plots, runs/demo/report.html
	$(BIN)/mixgym compare --suite benchmarks/suites/demo.yml --out runs/demo --resume
	@echo
	@echo "Open runs/demo/report.html. Then try:"
	@echo "  $(BIN)/mixgym list                                  what there is"
	@echo "  $(BIN)/mixgym info mixgym/MicroTarget-v1            a harder environment"
	@echo "  $(BIN)/mixgym replay runs/demo/runs/NanoPretrain-v0/natural/seed-0   re-execute a run, bit for bit"
	@echo "  docs/tutorials/own_data.md                          your own text in minutes"

test: $(STAMP)  ## Run the tests
	$(BIN)/mixgym data build nano8
	$(BIN)/mixgym data build core19
	$(BIN)/python -m pytest -q -n 2

test-slow: $(STAMP)  ## Run what takes longer than a unit test should
	$(BIN)/python -m pytest -q -m slow

# RLlib pins a Gymnasium of its own, so that its environment is another.
$(CLIENTS)/.installed: pyproject.toml constraints.txt constraints-clients.txt
	$(PYTHON) -m venv $(CLIENTS)
	grep -v '^gymnasium==' constraints.txt > $(CLIENTS)/constraints.txt
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c $(CLIENTS)/constraints.txt -c constraints-clients.txt -e '.[clients]' pytest
	touch $@

test-clients: $(CLIENTS)/.installed  ## TorchRL, skrl, RLlib and rl_zoo3 over our environments
	$(CLIENTS)/bin/mixgym data build nano8
	$(CLIENTS)/bin/python -m pytest -q -m clients tests/clients

wheel-test:  ## Build the wheel, install it outside the clone beside openai-agents, and use it there
	.ci/wheel-test

lint: $(STAMP)  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)  ## Let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## Regenerate the pages made from docstrings
	$(BIN)/python docs/generate.py

bench: $(STAMP)  ## Overhead against a bare training loop, and process scaling
	$(BIN)/python benchmarks/overhead.py

results: $(STAMP)  ## Recompute benchmarks/results/foundation and micro-target (two hours on 2 cores)
	$(BIN)/mixgym compare --suite benchmarks/suites/foundation.yml --out benchmarks/results/foundation --resume
	$(BIN)/python benchmarks/stationarity.py benchmarks/results/foundation/summary.csv
	$(BIN)/mixgym compare --suite benchmarks/suites/micro-target.yml --out benchmarks/results/micro-target --resume
	$(BIN)/python benchmarks/stationarity.py benchmarks/results/micro-target/summary.csv

presets: $(STAMP)  ## Recompute benchmarks/results/presets
	$(BIN)/python benchmarks/presets.py --corpus core19 --seconds 25 --workers 2

clean:  ## Remove the virtual environments and the runs
	rm -rf $(VENV) $(CLIENTS) runs

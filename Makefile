# Everything below needs Python 3.11+ and make alone; the rest is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?=
BENCH ?=
SCHEDULES ?= 200
TRAINING ?= training

.PHONY: install test lint demo train-demo bench faults lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   run the whole loop on this machine and judge it  (DATA=file.jsonl.gz for your own listings)"
	@echo "make test   lint, types and all tests, on real Kafka and OpenSearch"
	@echo "make train-demo   train an extractor on the synthetic marketplace and judge it (within an hour on 2 cores)"
	@echo "make faults  break brokers, workers and searches by random schedules and count what is lost  (SCHEDULES=200)"
	@echo "make bench  the speed and memory ratios  (BENCH='help overlap' for some of them)"

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages (torch is large: a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two at once, each with engines of its own: half of the time tests wait for engines and workers. A module's tests stay together.
test: lint
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

demo: install
	$(BIN)/qexplorer demo $(if $(DATA),--data "$(DATA)")

# Learns on one half of the synthetic marketplace's words and is judged by the other.
train-demo: install
	@mkdir -p $(TRAINING)/marketplace
	$(BIN)/qexplorer marketplace --half learn --count 8000 --prohibited 0.05 --seed 5 --out $(TRAINING)/marketplace/listings.jsonl \
		--flags 400 --flags-out $(TRAINING)/marketplace/train.jsonl
	$(BIN)/qexplorer train all $(TRAINING)/marketplace --out $(TRAINING)/run
	$(BIN)/qexplorer marketplace --half judge --count 10000 --prohibited 0.05 --seed 6 --out $(TRAINING)/judge.jsonl
	$(BIN)/qexplorer evaluate $(TRAINING)/judge.jsonl --out $(TRAINING)/results --seeds-by campaign --group-size 10 --searches 3 --searches 6 \
		--extractor sft=packaged,$(TRAINING)/run/sft,known --extractor dpo=packaged,$(TRAINING)/run/dpo/round-1,known
	$(BIN)/qexplorer compare dpo sft --results $(TRAINING)/results

bench: install
	$(BIN)/python -m tests.bench $(BENCH)

# One broker first; then three, whose partition leaders are killed, with two search nodes.
faults: install
	$(BIN)/python -m tests.faults --schedules $(SCHEDULES)
	$(BIN)/python -m tests.faults --schedules $$(( ($(SCHEDULES) + 4) / 5 )) --brokers 3 --search-nodes 2 --long

lock:
	$(PYTHON) -m pip install --quiet uv
	$(PYTHON) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" --output-file requirements.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

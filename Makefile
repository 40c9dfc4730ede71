# make demo     a fresh clone -> .venv -> a report to look at
# make test     a fresh clone -> .venv -> style, types and every test; `make check` is the same
# make verify   the slow evidence behind the README's figures
# make reproduce the plain reconstruction, class by class: about three hours on two cores
# make frontier how near to retraining the deep recipe comes: about two hours on two cores
# make buffers    what is left where less and less of what stays is shown: half an hour
# make ablation   how the deep recipe was found: what is not there of its record, 2 minutes a cell
# make sequences  requests one after another, and poisoned images: a quarter of an hour
# make kinds      every kind of request on digits, 3 seeds: ten minutes
# make ledger   500 requests, 8 clients, 4 workers and 50 kills on both databases, 5 minutes
# make torture  200 kills and 200 failing writes in the real pipeline: 16 minutes on two idle cores
# make bench      all methods on digits, tables and pictures: what is not there; all 500 cells made
#                 again (--results DIR --work DIR) take 75 minutes, and at most 2.5 hours, on two cores
# make bench-speed   how near to the hardware: a quarter of an hour on two idle cores
# make bench-memory  data larger than memory: a few minutes
# make bench-growth  what grows with what: half an hour on two idle cores
# make bench-peers   other packages on the same model and images; installs them into .venv-peers
# make bench-startup how soon commands answer: a minute on two idle cores
# make cluster    a Ray cluster of two nodes and a job of two processes, each losing one of them
# make fix      whatever ruff can put right by itself
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/stamp
QUICK := runs/verify/digits-quick

.PHONY: demo test check verify fix reproduce frontier buffers sequences ablation kinds ledger \
	torture bench bench-speed bench-memory bench-growth bench-peers bench-startup cluster
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(BIN)/unsee run --forget class=3 --oracle retrain --train-epochs 6 --out runs/demo --force
	@echo "look at runs/demo/report.html"

test check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest

verify: $(STAMP)
	$(BIN)/python verify/calibration.py
	$(BIN)/python verify/simulation.py
	$(BIN)/python verify/main_job.py
	rm -rf $(QUICK) $(QUICK)-work
	$(BIN)/unsee bench run benchmarks/digits-quick.toml --results $(QUICK) --work $(QUICK)-work
	$(BIN)/unsee bench table $(QUICK)
	$(BIN)/unsee bench check benchmarks/digits-quick.toml
	$(BIN)/python verify/cluster.py

bench: $(STAMP)
	$(BIN)/unsee bench run benchmarks/digits.toml --portable
	$(BIN)/unsee bench plot benchmarks/results/digits
	$(BIN)/unsee bench table benchmarks/results/digits --page docs/benchmarks.md

reproduce: $(STAMP)
	$(BIN)/python verify/reproduce.py

frontier: $(STAMP)
	$(BIN)/python verify/frontier.py

buffers: $(STAMP)
	$(BIN)/python verify/buffers.py

sequences: $(STAMP)
	$(BIN)/python verify/sequences.py

kinds: $(STAMP)
	$(BIN)/python verify/kinds.py

cluster: $(STAMP)
	$(BIN)/python verify/cluster.py

ablation: $(STAMP)
	$(BIN)/python verify/ablation.py

ledger: $(STAMP)
	$(BIN)/python verify/ledger_load.py --real
	$(BIN)/python verify/list_page.py

torture: $(STAMP)
	$(BIN)/python verify/torture.py

bench-speed bench-memory bench-growth bench-peers bench-startup: $(STAMP)
	$(BIN)/python verify/$(@:bench-%=%).py

fix: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "unsee needs Python 3.11 or later: make PYTHON=python3.13"; exit 1; }
	@echo "installing unsee, torch and the tools for tests into .venv: a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

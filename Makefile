# Every target does its own set-up. PYTHON names the interpreter for .venv (3.11 or newer).
PYTHON ?= python3
BIN = .venv/bin

.PHONY: report preview full published test lab benchmark readme clean-runs clean

report: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/standard.yaml

preview: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/quick.yaml report/preview

full: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/full.yaml

published: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/published.yaml
	$(BIN)/python -m helpers.readme

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lab: .venv/installed
	cd notebooks && ../$(BIN)/jupyter lab 00_start.ipynb

benchmark: .venv/installed
	$(BIN)/python -m helpers.benchmark

readme: .venv/installed
	$(BIN)/python -m helpers.readme

clean-runs: .venv/installed
	$(BIN)/python -c "from helpers import store; print(store.clear())"

clean:
	rm -rf .venv report

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

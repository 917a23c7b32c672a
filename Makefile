# Every target does its own set-up. PYTHON names the interpreter for .venv (3.11 or newer).
# Only `make published` and `make readme` change committed files.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: report preview published verify benchmark test types lab readme clean-runs clean

report: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/standard.yaml

preview: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/quick.yaml report/preview

published: .venv/installed
	$(BIN)/python -m helpers.report notebooks/plans/published.yaml report/published
	$(BIN)/python -m helpers.published publish report/published

verify: .venv/installed
	$(BIN)/python -m helpers.published verify -n $(or $(N),4)

benchmark: .venv/installed
	mkdir -p report/benchmark
	cd notebooks && ../$(BIN)/papermill benchmark.ipynb ../report/benchmark/benchmark.ipynb -p output ../report/benchmark -p repetitions 5
	$(BIN)/jupyter nbconvert --to html report/benchmark/benchmark.ipynb

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

types: .venv/installed
	env -u UV_SYSTEM_PYTHON $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[types]'
	$(BIN)/basedpyright

# JupyterLab saves what is played with, so it is given copies, which git ignores; remove the folder for fresh ones. The
# chapters of a report that was built come with their figures, but without the report's own parameters.
lab: .venv/installed
	mkdir -p playground
	ls report/notebooks/*.ipynb >/dev/null 2>&1 && $(BIN)/jupyter nbconvert --to notebook --log-level ERROR \
		--TagRemovePreprocessor.enabled True --TagRemovePreprocessor.remove_cell_tags injected-parameters \
		--output-dir report/lab report/notebooks/*.ipynb && cp -n report/lab/*.ipynb playground/ || true
	cp -rn notebooks/. playground/ || true  # some a cp fails on what is there already
	cd playground && ../$(BIN)/jupyter lab 00_start.ipynb

readme: .venv/installed
	$(BIN)/python -m helpers.published readme

clean-runs: .venv/installed
	$(BIN)/python -c "from helpers.runs import clear_store; print(clear_store())"

clean:
	rm -rf .venv report

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	env -u UV_SYSTEM_PYTHON $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[test]'
	touch $@

# make demo: search Python's documentation; DATABASE=postgresql or libsql changes where.
# make test: every engine.  make bench: all benchmarks, with fewer rows, in ten minutes.
# Nothing but Python is needed.

PYTHON ?= python3
DATABASE ?= sqlite
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python example_project/manage.py

export DATABASE
export PYTHONPATH := $(CURDIR)

.PHONY: demo serve test bench lint docs clean

demo: $(VENV)/.demo
	$(MANAGE) demo

serve: $(VENV)/.demo
	$(MANAGE) serve

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# One after the other: they would slow each other down.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/loading.py --quick
	$(BIN)/python benchmarks/reading.py --quick
	$(BIN)/python benchmarks/overhead.py --quick
	$(BIN)/python benchmarks/search_recall.py --quick
	$(BIN)/python benchmarks/search_filtered.py --quick
	$(BIN)/python benchmarks/search_sqlite.py --quick
	$(BIN)/python benchmarks/search_stages.py --quick
	$(BIN)/python benchmarks/libsql_index.py --data glove --rows 5000 --metric cosine

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build example_project/data

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp an extra: what is installed already is not looked at again until pyproject.toml changes.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@

$(VENV)/.lint: $(VENV)/.demo

# make demo: search Python's documentation; DATABASE=postgresql or libsql changes where.
# make test-scale: more than one server.
# make test: every engine.  make test-browser: the example in Chromium.
# make bench: all tables of measurements, into the documentation; make bench-quick: in two minutes.
# make fuzz SECONDS=600 SEED=1: random searches, values and ORM work, against numpy and stock Django.
# make coverage: what of the package the tests run.  make release: all that can be done before an upload.
# Nothing but Python is needed.

PYTHON ?= python3
DATABASE ?= sqlite
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python example_project/manage.py

# Ctrl-C is for make too, which ends by it. What was stopped has said so, in the one line that is needed.
QUIETLY := trap 'exit 0' INT;

export DATABASE
export PYTHONPATH := $(CURDIR)

.PHONY: demo serve test test-scale test-browser fuzz bench bench-quick lint coverage docs release clean

demo: $(VENV)/.demo
	@$(QUIETLY) $(MANAGE) demo

serve: $(VENV)/.demo
	@$(QUIETLY) $(MANAGE) serve

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# More than one server: replicas, partitions, shards, pools. All of it is part of ``make test`` too.
test-scale: $(VENV)/.test
	$(BIN)/python -m pytest tests/scale tests/test_diskann.py

# The example's pages in headless Chromium, which Debian calls chromium and chromium-driver.
test-browser: $(VENV)/.browser
	DORM_VECTOR_TEST_BROWSER=$${DORM_VECTOR_TEST_BROWSER:-build/pictures} \
		$(BIN)/python -m pytest tests/browser

# The modules that can be run, each for SECONDS; without SEED, fresh ones, which are printed.
SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.py,%,$(shell grep -l '^if __name__' tests/fuzz/*.py))

fuzz: $(VENV)/.test
	failed=; for fuzzer in $(FUZZERS); do \
		$(BIN)/python -m tests.fuzz.$$fuzzer --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) \
			|| failed="$$failed $$fuzzer"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench-quick: $(VENV)/.bench
	$(BIN)/python benchmarks/suite.py --quick

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/suite.py --output docs/performance

# What .pre-commit-config.yaml has as hooks.
SOURCES := .ci benchmarks docs dorm_vector example_project tests
PYTHONS = $(shell find $(SOURCES) -name '*.py')
PROSE = $(wildcard *.md docs/*.rst)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo $(BIN)/django-upgrade --target-version 5.2 ...
	@$(BIN)/django-upgrade --target-version 5.2 $(PYTHONS)
	$(BIN)/codespell $(SOURCES) $(wildcard *.md *.toml)
	$(BIN)/sphinx-lint $(PROSE)
	$(BIN)/mypy
	$(BIN)/python -m tests.lint

# All tests on every engine, in all the processes that they start; the floor is in pyproject.toml.
coverage: $(VENV)/.coverage
	rm -rf build/coverage
	mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest --numprocesses auto --dist loadfile
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

release: $(VENV)/.release
	$(BIN)/python .ci/release.py $(if $(TAG),--tag)

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m tests.support.links docs/_build/html

clean:
	rm -rf $(VENV) docs/_build example_project/data

# One stamp an extra: what is installed already is not looked at again until pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@$(QUIETLY) $(PYTHON) .ci/install.py $(VENV) $*

$(VENV)/.lint: $(VENV)/.demo
$(VENV)/.coverage: $(VENV)/.test

# make demo | test | lint | bench: each sets up .venv by itself.
PYTHON ?= python3.11
JOBS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := alchemc analysis campaign ensembles potentials sampler
SOURCES := pyproject.toml $(shell find $(PACKAGES) -type f -not -path '*/__pycache__/*')
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test lint bench format clean
.DELETE_ON_ERROR:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Dependencies first, so that a changed source file costs seconds, not minutes.
$(VENV)/.dependencies: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt setuptools wheel
	$(BIN)/python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > $@.txt
	$(PIP) install --quiet -c constraints.txt -r $@.txt
	touch $@

$(VENV)/.development: $(VENV)/.dependencies
	$(BIN)/python -c "import tomllib; e = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print('\n'.join(e['dev'] + e['train']))" > $@.txt
	$(PIP) install --quiet -c constraints.txt -r $@.txt
	touch $@

$(VENV)/.benchmarks: $(VENV)/.development
	$(BIN)/python -c "import tomllib; e = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print('\n'.join(e['bench']))" > $@.txt
	$(PIP) install --quiet -c constraints.txt -r $@.txt
	touch $@

# A regular installation: what is tested is what a user gets.
$(VENV)/.package: $(SOURCES) $(VENV)/.dependencies
	rm -rf build
	$(PIP) install --quiet --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

demo: $(VENV)/.package
	$(BIN)/alchemc run examples/demo.toml --output $(DEMO)

test: $(VENV)/.development $(VENV)/.package
	$(BIN)/pytest -n $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

lint: $(VENV)/.development $(VENV)/.package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p alchemc
	cd $(VENV) && bin/lint-imports --config ../pyproject.toml

bench: $(VENV)/.benchmarks $(VENV)/.package
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info

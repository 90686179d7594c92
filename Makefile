# make test: set up .venv if missing and run the tests.   make demo: a whole encoding study on the phantom, with a report.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test demo docs lint clean

# The stamp is made last, so an interrupted installation is repeated.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

demo: $(VENV)/.installed
	$(BIN)/python -m neuro demo --output demo

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo dist build docs/_build docs/api docs/gallery

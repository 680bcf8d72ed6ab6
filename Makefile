# make demo | make test | make quality: each makes .venv when absent and installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-oldest quality clean

demo: $(VENV)/.installed-demo
	$(BIN)/python demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not forks"
	$(BIN)/python -m pytest -m "forks and not slow"

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

# The quick one of the older environments; `nox -l` lists them all.
test-oldest: $(VENV)/.installed-test
	$(BIN)/nox -s oldest_libraries

quality: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamp is newer than setup.cfg, or pip runs again.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) .nox outputs build *.egg-info

# make conform   judge every backend that can run here, and write the report
# make test      run the linters, the type checker and the tests
# All set everything up in .venv first; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

EXAMPLES := docs/examples

.PHONY: conform outsiders test lint clean

conform: $(INSTALLED)
	$(BIN)/ssm-spec conform --all-available --level quick --report report \
		--expected docs/examples/ssm-mambapy/expected-failures.toml

# Their failures are news, and no failure of this command.
outsiders: $(INSTALLED)
	$(PIP_INSTALL) --editable $(EXAMPLES)/ssm-transformers --editable $(EXAMPLES)/ssm-jax-scan
	-$(BIN)/ssm-spec conform transformers-mamba transformers-mamba2 --timeout 300 --report report/outsiders
	-$(BIN)/ssm-spec conform jax-scan --level smoke --dtype float32 --timeout 300 --report report/outsiders

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n auto

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) report

$(INSTALLED): pyproject.toml constraints.txt docs/examples/ssm-mambapy/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; run: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[dev,torch,triton,cpu]'
	$(PIP_INSTALL) --editable docs/examples/ssm-mambapy
	touch $@

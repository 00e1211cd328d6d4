# make conform   judge every backend that can run here, and write the report
# make test      run the linters, the type checker and the tests
# make outsiders judge what others wrote on transformers and JAX
# All set everything up in .venv first; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_OPTIONS := --quiet --disable-pip-version-check --constraint constraints.txt --no-compile
PIP_INSTALL := $(BIN)/python -m pip install $(PIP_OPTIONS)

EXAMPLES := docs/examples
OUTSIDE := $(VENV)/outsiders
OUTSIDERS := $(OUTSIDE)/.installed

# Hundreds of processes import the packages: what they import, and no more, is compiled then and kept (an empty
# value is none).
export PYTHONDONTWRITEBYTECODE =

.PHONY: conform outsiders test lint clean

conform: $(INSTALLED)
	$(BIN)/ssm-spec conform --all-available --level quick --report report \
		--expected docs/examples/ssm-mambapy/expected-failures.toml

# Their failures are news, and no failure of this command.
outsiders: $(OUTSIDERS)
	-$(OUTSIDE)/bin/ssm-spec conform transformers-mamba transformers-mamba2 --timeout 300 --report report/outsiders
	-$(OUTSIDE)/bin/ssm-spec conform jax-scan --level smoke --dtype float32 --timeout 300 --report report/outsiders

# Threads that spin while they wait take the cores from the other workers.
# Neighbours share what is computed or compiled once in a process: each worker begins with a share of the files,
# and one that is done takes from the others.
test: export OMP_WAIT_POLICY = PASSIVE
test: export OPENBLAS_NUM_THREADS = 1
test: $(INSTALLED) $(OUTSIDERS) lint
	$(BIN)/python -m pytest -n auto --dist worksteal

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

# JAX and transformers live apart: what is installed in $(VENV) is what `make conform` judges.
$(OUTSIDERS): $(INSTALLED) $(EXAMPLES)/ssm-transformers/pyproject.toml $(EXAMPLES)/ssm-jax-scan/pyproject.toml
	$(PYTHON) -m venv $(OUTSIDE)
	$(OUTSIDE)/bin/python -m pip install $(PIP_OPTIONS) --editable '.[conformance,torch]' \
		--editable '$(EXAMPLES)/ssm-transformers[test]' --editable '$(EXAMPLES)/ssm-jax-scan[test]'
	touch $@

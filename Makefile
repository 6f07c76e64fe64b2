# The two commands that matter are `make demo` and `make test`; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYO3_PYTHON := $(abspath $(BIN)/python)

RUST := Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name '*.rs')
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -e

.PHONY: help demo lecture test lint format bench work clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

demo: $(VENV)/.plot  ## train on real images and leave pictures in demo/ (DATA=path for your own)
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)")

lecture: $(VENV)/.lecture  ## run the scripts in examples/lecture: a page with pictures, lecture/index.html
	$(BIN)/python examples/lecture

# Unit tests are compiled with little optimisation; the others use the library that tests/test_work.py counts.
test: $(VENV)/.test  ## cargo test, then pytest against PyTorch
	cargo test --locked --quiet --lib
	cargo test --locked --quiet --release --test '*'
	$(BIN)/python -m pytest

lint: $(VENV)/.lint  ## formatters, linters and type checkers, warnings as errors
	cargo fmt --check
	cargo clippy --locked --all-targets --features python --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy python/fastvae examples
	$(BIN)/python -m mypy.stubtest fastvae._core

format: $(VENV)/.lint  ## format all code
	cargo fmt
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.bench  ## measure beside PyTorch, JAX and onnxruntime in one process: a table, and benches/results/
	$(BIN)/python -m pytest benches --write-results

work: $(VENV)/.test  ## record how many instructions a step takes, which `make test` guards
	$(BIN)/python tests/test_work.py

clean:  ## remove the environment and everything built
	rm -rf $(VENV) target demo lecture

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An editable install builds the extension in release mode; each extra is installed when something needs it. The library
# of the benches has more in it (the feature `probe`): a later install of another extra replaces it, so its mark goes.
$(VENV)/.bench: export MATURIN_PEP517_ARGS := --features python,probe
$(VENV)/.%: $(BIN)/python $(RUST)
	$(INSTALL) '.[$*]'
	@rm -f $(VENV)/.bench
	@touch $@

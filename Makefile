# The main commands are `make demo` and `make test`; `make help` lists all.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYO3_PYTHON := $(abspath $(BIN)/python)

RUST := Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name '*.rs')
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -e

.PHONY: help demo lecture docs test mpi wheel lint format bench work mutations fuzz clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

demo: $(VENV)/.plot  ## train on images and write pictures to demo/ (DATA=path for your own images)
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)")

lecture: $(VENV)/.lecture  ## write an illustrated lecture to lecture/index.html
	$(BIN)/python examples/lecture

docs: $(VENV)/.docs  ## build the documentation in docs/_build/html/index.html; warnings are errors
	$(BIN)/python -m sphinx -E -b html -W --keep-going -q docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html
	$(BIN)/python docs/check_browser.py docs/_build/html
	$(BIN)/python docs/check_notebooks.py docs/auto_gallery
	@echo docs/_build/html/index.html

# Unit tests are built with little optimisation. The other Rust tests use the release build, as tests/test_work.py does.
test: $(VENV)/.test  ## run the tests: cargo test, then pytest
	cargo test --locked --quiet --lib
	cargo test --locked --quiet --release --test '*'
	$(BIN)/python -m pytest

mpi: $(VENV)/.mpi  ## train one model on two processes (needs an MPI library: apt-get install openmpi-bin libopenmpi-dev)
	OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
		mpirun -n 2 $(BIN)/python -m mpi4py examples/distributed/digits.py

wheel: $(VENV)/.wheel  ## build sdist and wheel in dist/, audit them, and test the wheel with every Python found
	BIN=$(BIN) .ci/wheel

lint: $(VENV)/.lint  ## run formatters, linters and type checkers; warnings are errors
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

bench: $(VENV)/.bench  ## compare with PyTorch, JAX and onnxruntime; writes benches/results/
	$(BIN)/python -m pytest benches --write-results

work: $(VENV)/.test  ## record the instruction counts that `make test` compares with
	$(BIN)/python tests/test_work.py

mutations: $(VENV)/.test  ## load 100,000 mutated model files
	FASTVAE_MUTATIONS=100000 $(BIN)/python -m pytest -s tests/test_mutations.py

# Finds go to tests/fuzz/artifacts; new inputs to tests/fuzz/corpus. The files of tests/data are where it starts.
SECONDS := 600
fuzz:  ## fuzz the reader of model files for SECONDS=600 (needs a nightly compiler and cargo-fuzz)
	mkdir -p tests/fuzz/corpus
	cd tests/fuzz && cargo +nightly fuzz run --fuzz-dir . load corpus $(addprefix ../data/,v1 v2 v3) \
		-- -max_total_time=$(SECONDS) -max_len=65536 -rss_limit_mb=1024 -timeout=5

clean:  ## remove the environment and all build results
	rm -rf $(VENV) target demo lecture dist tests/fuzz/target docs/_build docs/api docs/auto_gallery

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An editable install builds the extension in release mode and adds the dependencies of one extra. The benches need a
# library with the feature `probe`; installing another extra replaces that library, so it removes .bench.
$(VENV)/.bench: export MATURIN_PEP517_ARGS := --features python,probe
$(VENV)/.%: $(BIN)/python $(RUST)
	$(INSTALL) '.[$*]'
	@rm -f $(VENV)/.bench
	@touch $@

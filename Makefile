# Two commands for a fresh machine: `make demo`, `make test`. Both set up .venv by themselves.
#
#   make demo     train, reduce, export, prove and measure the digits model; opens nothing, prints where the report is
#   make test     style, types, import rules, tests (needs pip only; skips say what they want)
#   make bench    the long measurements, JSON into benchmarks/results/
#   make deps     Debian packages some tests want (needs root)
#
# Another torch build: make demo TORCH="torch --index-url URL-OF-YOUR-BUILD" (or TORCH=torch==2.12.1)

PYTHON ?= python3
TORCH  ?= torch==2.13.0
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
# Its name holds which torch was asked for: another TORCH installs again.
STAMP  := $(VENV)/.ready-$(shell printf %s '$(TORCH)' | cksum | cut -d" " -f1)

# This machine's C and the report's browser; then other processors' compilers and emulators (tests/native).
PACKAGES := gcc g++ libc6-dev make python3-venv chromium clang cmake ninja-build \
	gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm qemu-user \
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-riscv64-linux-gnu libc6-dev-riscv64-cross openssh-server adb llvm

.PHONY: demo test check bench deps clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/ssmith run digits

# A file's tests stay in one process: what they share (programs, whole runs) is made once, not once a process.
test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

deps:
	apt-get update -qq
	apt-get install -y --no-install-recommends $(PACKAGES)

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ssmith needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "pip>=25.1,<26.2"
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]" --group dev
	@rm -f $(VENV)/.ready-* && touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

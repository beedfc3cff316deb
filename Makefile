PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
TYPES := build/types
JOBS ?= 2

.PHONY: demo test lint types bench clean

# The environment is made once, and again when its requirements change. Most modules of the packages
# are never imported: Python compiles those that are, which is faster than all of them at once.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), a few minutes the first time; see $(VENV)/install.log"
	@$(PIP) --upgrade "pip>=24" "setuptools>=77" > $(VENV)/install.log 2>&1 \
		&& $(PIP) --no-compile --constraint constraints.txt --editable ".[dev]" >> $(VENV)/install.log 2>&1 \
		|| { tail -n 40 $(VENV)/install.log; exit 1; }
	@touch $@

demo: $(VENV)/installed
	$(BIN)/harmbench demo --out runs/demo --jobs $(JOBS)

test: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses $(JOBS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) types

# methods/ is installed as harmbench.methods: mypy and import-linter see a tree in which it lies there.
types: $(VENV)/installed
	rm -rf $(TYPES)
	mkdir -p $(TYPES)
	cp -rs "$(CURDIR)/harmbench" $(TYPES)/harmbench
	cp -rs "$(CURDIR)/methods" $(TYPES)/harmbench/methods
	cd $(TYPES) && "$(abspath $(BIN))/mypy" --config-file "$(CURDIR)/pyproject.toml" -p harmbench
	cd $(TYPES) && "$(abspath $(BIN))/lint-imports" --no-cache "$(CURDIR)/pyproject.toml"

bench: $(VENV)/installed
	@$(PIP) --quiet --no-compile --constraint constraints.txt --editable ".[bench]"
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf build runs .mypy_cache .pytest_cache .ruff_cache

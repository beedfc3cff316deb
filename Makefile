PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DOCS_VENV ?= .venv-docs
INSTALL := -m pip install --disable-pip-version-check --no-compile --constraint constraints.txt
TYPES := build/types
JOBS ?= 2

.PHONY: setup demo test coverage lint types docs wheel bench bench-dry-run soak clean

setup: $(VENV)/installed

# The environment is made once, and again when its requirements change. Most modules of the packages
# are never imported: Python compiles those that are, which is faster than all of them at once.
# The demo needs what a user needs; tests and checks need more.
$(VENV)/usable: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), a minute or so the first time; see $(VENV)/install.log"
	@rm -rf harmbench.egg-info  # of an earlier setup: its entry points would count in this folder
	@$(BIN)/python -m pip install --upgrade "pip>=25.1" "setuptools>=77" > $(VENV)/install.log 2>&1 \
		&& $(BIN)/python $(INSTALL) --editable . >> $(VENV)/install.log 2>&1 \
		|| { tail -n 40 $(VENV)/install.log; exit 1; }
	@touch $@

$(VENV)/installed: $(VENV)/usable
	@echo "installing the tools of the tests; see $(VENV)/install.log"
	@$(BIN)/python $(INSTALL) --editable ".[dev]" >> $(VENV)/install.log 2>&1 \
		|| { tail -n 40 $(VENV)/install.log; exit 1; }
	@touch $@

demo: $(VENV)/usable
	$(BIN)/harmbench demo --out runs/demo --jobs $(JOBS)

test: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup

# All tests, and the share of lines that they reach; the floor stands in pyproject.toml. From Python 3.12
# the interpreter's own monitoring counts lines, at little cost. docs/suite_statistics.py puts the numbers
# of both reports into docs/tests.md.
coverage: $(VENV)/installed
	COVERAGE_CORE=$$($(BIN)/python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')") \
		$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup --cov --cov-report=term:skip-covered \
		--cov-report=json:build/coverage.json --junitxml=build/tests.xml

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
	$(BIN)/mypy tests benchmarks docs noxfile.py .ci
	cd $(TYPES) && "$(abspath $(BIN))/lint-imports" --no-cache "$(CURDIR)/pyproject.toml"

# The pages need none of harmbench's requirements: its code is read, not imported.
$(DOCS_VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(DOCS_VENV)/bin/python $(INSTALL) --quiet --group docs
	@touch $@

# Strict: a broken link ends the build. What mkdocstrings and griffe only print ends it too.
docs: $(DOCS_VENV)/installed
	@mkdir -p build
	$(DOCS_VENV)/bin/zensical build --strict --clean > build/docs.log 2>&1; code=$$?; cat build/docs.log; exit $$code
	@! grep --extended-regexp "^(griffe|mkdocstrings|autorefs):" build/docs.log

wheel: $(VENV)/installed
	.ci/try-wheel $(BIN)/python build/wheel

bench: $(VENV)/installed
	@$(BIN)/python $(INSTALL) --quiet --editable ".[bench]"
	for script in $(filter-out benchmarks/gpu%,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

# All lines of what is measured on a GPU, at tiny sizes on the CPU.
bench-dry-run: $(VENV)/installed
	$(BIN)/python benchmarks/gpu.py --dry-run --out build/gpu-dry-run

# 100,000 damaged files through every reader; runs that are killed, and damaged run folders. The counts
# stand in docs/reliability.md.
soak: $(VENV)/installed
	cd tests/soak && "$(abspath $(BIN))/python" soak.py --inputs 100000 --keep "$(CURDIR)/build/soak"
	cd tests/soak && "$(abspath $(BIN))/python" soak_kills.py --keep "$(CURDIR)/build/soak"
	cd tests/soak && "$(abspath $(BIN))/python" soak_folders.py --keep "$(CURDIR)/build/soak"

clean:
	rm -rf build runs .mypy_cache .pytest_cache .ruff_cache .coverage* .nox

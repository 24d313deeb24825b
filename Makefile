# Everything, environment included, from a machine that has Python 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV_PIN := uv==0.13.9
export UV_LINK_MODE ?= hardlink

.PHONY: run test test-all check check-line format lock clean
run: .venv/.demo            ## serve the shipped bundle with a live demonstration stream, which the `data` extra simulates
	$(BIN)/alloysort serve --demo

test: .venv/.dev            ## the fast tests, on every core
	$(BIN)/pytest -q -n auto --dist loadgroup -m "not slow"

test-all: .venv/.dev        ## the slow ones too
	$(BIN)/pytest -q -n auto --dist loadgroup

check: .venv/.dev           ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-line: .venv/.uv       ## the wheel, where only a line's packages are: classifies and serves without torch
	rm -rf .line dist
	$(BIN)/uv build -q --wheel --out-dir dist
	$(BIN)/uv venv -q .line
	$(BIN)/uv pip install -q -p .line -r requirements/line.txt
	$(BIN)/uv pip install -q -p .line --no-deps dist/*.whl
	cd dist && ../.line/bin/python ../.ci/check_line.py

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/.uv             ## pin versions anew after a change of pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --extra dev --python-version 3.11 --no-emit-index-url --no-header --generate-hashes -o requirements/dev.txt
	$(BIN)/uv pip compile -q pyproject.toml -c requirements/dev.txt --python-version 3.11 --no-emit-index-url --no-header --generate-hashes -o requirements/line.txt
	$(BIN)/uv pip compile -q pyproject.toml --extra plant -c requirements/dev.txt --python-version 3.11 --no-emit-index-url --no-header --generate-hashes -o requirements/plant.txt
	$(BIN)/uv pip compile -q pyproject.toml --extra data -c requirements/dev.txt --python-version 3.11 --no-emit-index-url --no-header --generate-hashes -o requirements/demo.txt

.venv/.uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alloysort needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check $(UV_PIN)
	@touch $@

.venv/.demo: .venv/.uv requirements/demo.txt
	$(BIN)/uv pip install -q -r requirements/demo.txt
	$(BIN)/uv pip install -q --no-deps -e .
	@touch $@

.venv/.dev: .venv/.demo requirements/dev.txt
	$(BIN)/uv pip install -q -r requirements/dev.txt
	@touch $@

clean:
	rm -rf .venv .line dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

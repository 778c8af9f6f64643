# Every command that a contributor or the CI needs; `make help` lists them.
PORT ?= 8000
HOST ?=
SOAK_SECONDS ?= 600
PLAYGROUND := .venv/bin/playground
SH := bash tools/environment
SCRIPTS := $(shell grep -lE '^\#!.*python|^"""' tools/* deploy/* 2>/dev/null)
SHELL_SCRIPTS := $(shell grep -lE '^\#!.*\b(ba)?sh$$' tools/* tools/editor/* deploy/* .ci/run 2>/dev/null)

# V=1 shows what pip, apt and cargo print.
export V

.DEFAULT_GOAL := help
.PHONY: help run setup targets toolchains check lint test test-all bench container-test operator-test soak format

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: setup ## Set up what is missing and serve the course on 127.0.0.1:8000 (PORT=8123 and HOST=0.0.0.0 change it)
	@trap : INT; $(PLAYGROUND) serve --port $(PORT) $(if $(HOST),--host $(HOST)) || test $$? = 130 # Ctrl-C is no error

setup: .venv/.run ## Environment, dependencies, toolchain, bare-metal target
	@$(PLAYGROUND) setup || test $$? = 1

targets: .venv/.run ## Every target of every lesson, and the programs that lessons start
	@$(PLAYGROUND) setup --all

toolchains: .venv/.run ## What check and test use: every target, and the compiler of the post's time
	@$(PLAYGROUND) setup --all --era || test $$? = 1 # a test that lacks something says so; in CI that is a failure

check: .venv/.dev toolchains lint ## Lint, types, imports, lessons on the real toolchains
	$(PLAYGROUND) lessons check

lint: .venv/.dev ## What check does before the lessons: format, lint, types, imports, spelling
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/mypy --scripts-are-modules $(SCRIPTS)
	.venv/bin/lint-imports
	.venv/bin/biome lint --error-on-warnings static/js
	.venv/bin/shellcheck $(SHELL_SCRIPTS)
	.venv/bin/codespell
	@tools/check-rust
	cd static/vendor && sha256sum --check --quiet SHA256SUMS
	@sh tools/editor/check

test: .venv/.dev toolchains ## Every test, on the real toolchains and a real browser
	@.venv/bin/python tools/test-tools
	.venv/bin/pytest $(PYTEST_ARGS)

test-all: .venv/.dev toolchains ## The same in every combination, attacks of the web at each level, too
	@.venv/bin/python tools/test-tools
	TEST_ALL=1 .venv/bin/pytest $(PYTEST_ARGS)

bench: .venv/.dev setup ## Print the figures of the README; AGAINST=COMMIT compares with that commit instead (ROUNDS=100)
	.venv/bin/python -m $(if $(AGAINST),bench.against "$(AGAINST)",bench) $(ROUNDS)

container-test: .venv/.dev ## Build the image and prove it: levels, attacks, full disks (as root, ten minutes)
	.venv/bin/python tools/container-test

operator-test: .venv/.dev setup ## Play an operator's week: backup, kill -9, damage, full disk, restore, rollback (as root, two minutes)
	.venv/bin/python tools/operator-test

soak: .venv/.dev setup ## A warm-up and ten minutes of honest and hostile runs, then count what is left (SOAK_SECONDS changes it)
	.venv/bin/python -m bench.soak $(SOAK_SECONDS)

format: .venv/.dev ## Format the code and mend what can be mended
	.venv/bin/ruff format
	.venv/bin/ruff check --fix
	.venv/bin/biome lint --write static/js
	rustfmt app/sandbox/launcher.rs app/run/machine/standin.rs

.venv/.run: pyproject.toml uv.lock tools/environment
	@$(SH)

.venv/.dev: pyproject.toml uv.lock tools/environment
	@$(SH) dev

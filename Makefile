# Every command that a contributor or the CI needs; `make help` lists them.
PORT ?= 8000
HOST ?=
SOAK_SECONDS ?= 600
PLAYGROUND := .venv/bin/playground
SH := bash tools/environment
SCRIPTS := $(shell grep -lE '^\#!.*python|^"""' tools/* deploy/* 2>/dev/null)
SHELL_SCRIPTS := $(shell grep -lE '^\#!.*\b(ba)?sh$$' tools/* tools/editor/* deploy/* .ci/run 2>/dev/null)

# Test processes that run side by side; PROCESSES=0 runs every test in one. They are few, because each runs compilers and
# a browser, too.
PROCESSES ?= auto
SPLIT := -n $(PROCESSES) --maxprocesses 4

# V=1 shows what pip, apt and cargo print.
export V
# Tests start hundreds of servers. Without bytecode files, each would spend most of its start on compiling its modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run class setup targets toolchains check check-lessons lint lint-python lint-types lint-others test test-all
.PHONY: coverage bench load container-test operator-test systemd-test soak cluster chaos bench-readers format

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: setup ## Set up what is missing and serve the course on 127.0.0.1:8000 (PORT=8123 and HOST=0.0.0.0 change it)
	@trap : INT; $(PLAYGROUND) serve --port $(PORT) $(if $(HOST),--host $(HOST)) || test $$? = 130 # Ctrl-C is no error

class: setup ## Hold a class on this network (ADDRESS=192.168.1.5 NAME="…" PORT=8000 change what it finds itself)
	@trap : INT; $(PLAYGROUND) class --port $(PORT) --address "$(ADDRESS)" --name "$(NAME)" || test $$? = 130

setup: .venv/.run ## Environment, dependencies, toolchain, bare-metal target
	@$(PLAYGROUND) setup || test $$? = 1

targets: .venv/.run ## Every target of every lesson, and the programs that lessons start
	@$(PLAYGROUND) setup --all

toolchains: .venv/.run ## What check and test use: every target, and the compiler of the post's time
	@$(PLAYGROUND) setup --all --era || test $$? = 1 # a test that lacks something says so; in CI that is a failure

# The set-up mostly waits for downloads and single compilers, so the tools are installed and the linters run beside it.
# Clippy comes with the set-up.
check: ## Lint, types, imports, lessons on the real toolchains
	@$(MAKE) --no-print-directory -j2 toolchains lint-python lint-types
	@$(MAKE) --no-print-directory -j2 check-lessons lint-others

check-lessons: .venv/.run
	$(PLAYGROUND) lessons check

lint: .venv/.dev ## What check does before the lessons: format, lint, types, imports, spelling
	@$(MAKE) --no-print-directory -j2 lint-types lint-python lint-others

lint-types: .venv/.dev
	.venv/bin/mypy
	.venv/bin/mypy --scripts-are-modules $(SCRIPTS)

lint-python: .venv/.dev
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/lint-imports

lint-others: .venv/.dev
	.venv/bin/biome lint --error-on-warnings static/js
	.venv/bin/shellcheck $(SHELL_SCRIPTS)
	.venv/bin/codespell
	@tools/check-rust
	cd static/vendor && sha256sum --check --quiet SHA256SUMS
	@sh tools/editor/check

test: .venv/.dev toolchains ## Every test, on the real toolchains and a real browser
	@.venv/bin/python tools/test-tools
	.venv/bin/pytest $(SPLIT) $(PYTEST_ARGS)

test-all: export TEST_ALL = 1
test-all: coverage ## The same in every combination, attacks of the web at each level, two more browsers, coverage

# Not in `make test`: with coverage, what Python executes in tests and servers takes 1.4 times the processor time.
coverage: .venv/.dev toolchains ## Run every test, and print how much of the program they execute
	@.venv/bin/python tools/test-tools
	@.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest $(SPLIT) $(PYTEST_ARGS)
	@.venv/bin/coverage combine --quiet
	@.venv/bin/coverage report

bench: .venv/.dev setup ## Print the figures of the README; AGAINST=COMMIT compares with that commit instead (ROUNDS=100)
	.venv/bin/python -m $(if $(AGAINST),bench.against "$(AGAINST)",bench) $(ROUNDS)

load: .venv/.dev setup ## Load a server, ten learners beside a greedy seat, and a class (LOAD="SECONDS SEATS" CLASS="SECONDS SEATS HOSTILE")
	.venv/bin/python -m bench.load $(LOAD)
	.venv/bin/python -m bench.classroom $(CLASS)

container-test: .venv/.dev ## Build the image and prove it: levels, attacks, full disks (as root, ten minutes)
	.venv/bin/python tools/container-test

operator-test: .venv/.dev setup ## Play an operator's week: backup, kill -9, damage, full disk, restore, rollback (as root; CONTAINER=1 in podman)
	.venv/bin/python tools/operator-test $(if $(CONTAINER),--container)

systemd-test: ## Try deploy/playground.service in an emulated Debian (as root, half an hour; tools/virtual-debian says what it needs)
	tools/virtual-debian .venv/bin/python tools/systemd-test

soak: .venv/.dev setup ## A warm-up and ten minutes of honest and hostile runs, then count what is left (SOAK_SECONDS changes it)
	.venv/bin/python -m bench.soak $(SOAK_SECONDS)

cluster: .venv/.dev setup ## Serve with a broker and two workers, each a process, on this machine (PORT=8123, SLOTS=1)
	@tools/cluster $(PORT)

chaos: .venv/.dev setup ## Kill, stop and cut off every part of a cluster under load, and check what was promised (CHAOS_SECONDS=60)
	.venv/bin/python -m bench.chaos $(CHAOS_SECONDS)

bench-readers: .venv/.dev setup ## Print the delay of a thousand open readers on both engines (READERS=1000)
	.venv/bin/python -m bench.readers $(READERS)

format: .venv/.dev ## Format the code and mend what can be mended
	.venv/bin/ruff format
	.venv/bin/ruff check --fix
	.venv/bin/biome lint --write static/js
	@tools/check-rust format

.venv/.run: pyproject.toml uv.lock tools/environment
	@$(SH)

# After the program's own packages, with which the set-up begins.
.venv/.dev: pyproject.toml uv.lock tools/environment | .venv/.run
	@$(SH) dev

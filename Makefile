# make demo   the main job on the embedded default      make dev    Dagster's web UI with everything running
# make test   installs what it needs, runs every test   make check  format, lint, types, imports, fast tests
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)
export SIS_PROJECT_DIR := $(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What the demo's webhooks are signed with. It guards nothing.
export TOWER_SECRET ?= whsec_dGhlIGRlbW8ncyB3ZWJob29rcyBhcmUgbm90IHNlY3JldA==
# Workers for the tests; two cores are what continuous integration has. TEST_OPTIONS=--order-seed=1 mixes them.
TEST_WORKERS ?= 2
TEST_OPTIONS ?=

.PHONY: help install install-dev install-servers demo-data demo dev gateway test check drills mutants bench bench-env bench-kinds bench-streams bench-receive bench-drain bench-capture bench-growth bench-audit format lock clean

help: ## Shows this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.run-installed: requirements/run.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --requirement requirements/run.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-installed: requirements/dev.lock $(VENV)/.run-installed
	$(BIN)/pip install --quiet --no-deps --requirement requirements/dev.lock
	@touch $@

install: $(VENV)/.run-installed ## Installs the project with locked versions into .venv.

install-dev: $(VENV)/.dev-installed ## The same with what tests and checks need.

install-servers: ## Installs the database servers that tests start themselves and PyPI does not have.
	@bash tools/install_servers.sh

demo-data: install
	@$(BIN)/python examples/make_demo_data.py

gateway: install ## Takes what customers push, on http://127.0.0.1:8080; Ctrl-C stops it.
	@$(BIN)/sis gateway

demo: demo-data ## From customers' database, files and pushes to training datasets, on real data.
	@$(BIN)/python examples/push_demo.py
	@$(BIN)/sis run --all --summary

dev: demo-data ## Web UI on http://127.0.0.1:3000, daemon, gateway and drain; Ctrl-C stops all.
	@$(BIN)/sis dev --port $(or $(PORT),3000) --gateway-port $(or $(GATEWAY_PORT),8080)

# Those that need no server and take seconds.
FAST_TESTS := $(addprefix superinsight_sync_tests/, test_house_rules.py test_docs.py core model receive \
	pipeline/test_project.py quality/test_expectations.py)

check: install-dev ## Format, lint, types, import contracts, sizes, fast tests, definitions.
	@$(BIN)/python tools/side_by_side.py \
		"$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports && $(BIN)/deptry superinsight_sync && SIS_STRICT=1 $(BIN)/dg check defs" \
		"$(BIN)/mypy" \
		"$(BIN)/python -m pytest -q $(FAST_TESTS)"

test: install-dev install-servers ## Every test.
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal --durations=10 $(TEST_OPTIONS)

# Those that have a short and a long version.
DRILLS := $(addprefix superinsight_sync_tests/, drills gateway/test_drills.py gateway/test_drain.py \
	gateway/test_below.py gateway/api/test_fuzzing.py capture/test_kill.py)

drills: install-dev install-servers ## The long versions of the kill and race drills.
	SIS_LONG=1 $(BIN)/python -m pytest -n 1 --timeout=7200 --durations=10 $(DRILLS)

mutants: install-dev install-servers ## Breaks the code in 64 small ways; tells what the tests do not find. Takes hours.
	$(BIN)/python tools/mutants.py

bench-env: install-dev ## Installs the peers that benchmarks compare with, in an environment of their own.
	$(PYTHON) -m venv .bench-venv
	.bench-venv/bin/pip install --quiet --requirement benchmarks/peers.txt

ROWS ?= 1000000
KIND_ROWS ?= 200000
bench: install-dev ## PostgreSQL → lake against dlt, pandas and the wire's limit, ROWS=1000000.
	$(BIN)/python benchmarks/pull_postgres.py --rows $(ROWS) --peers .bench-venv/bin/python

bench-kinds: install-dev install-servers ## Every kind of source → lake against dlt and others, KIND_ROWS=200000.
	$(BIN)/python benchmarks/pull_kinds.py --rows $(KIND_ROWS) --peers .bench-venv/bin/python

bench-receive: install-dev ## Webhooks and batches into the gateway, beside the framework without storage and an ORM handler.
	$(BIN)/python benchmarks/receive.py

bench-drain: install-dev ## From acceptance to the lake by `sis drain`: 75 pushes a second for 30 s.
	$(BIN)/python benchmarks/drain.py

bench-capture: install-dev ## From a commit at a PostgreSQL to the lake by a capture, and what a change costs.
	$(BIN)/python benchmarks/capture.py

bench-growth: install-dev ## How cost grows with rows, columns, long cells, runs and what waits: about ten minutes.
	$(BIN)/python benchmarks/growth.py

bench-audit: install-dev ## Records a second appended to the audit log and verified, beside the plain insert.
	$(BIN)/python benchmarks/audit.py

bench-streams: install-dev ## A hundred streams of one source, as one run and as a run each.
	$(BIN)/python benchmarks/hundred_streams.py

format: install-dev ## Formats the code.
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

EXTRAS := avro excel gateway graphql kafka llm masking mongodb mssql mysql oracle quality redis sftp soap xml
lock: install-dev ## Locks the newest versions that pyproject.toml allows.
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url --no-emit-options --strip-extras --allow-unsafe $(addprefix --extra ,$(EXTRAS)) --extra demo -o requirements/run.lock pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-header --no-emit-index-url --no-emit-options --strip-extras --allow-unsafe $(addprefix --extra ,$(EXTRAS)) --extra demo --extra dev -c requirements/run.lock -o requirements/dev.lock pyproject.toml

clean: ## Removes what was installed and what runs made.
	rm -rf $(VENV) .sis .hypothesis .pytest_cache .mypy_cache .ruff_cache

# bedplate's commands. `make` lists them; each makes the virtual environment when it is missing.
# Where uv is installed it is used; otherwise venv and pip.

PYTHON ?= python3
# A Python that was named has an environment of its own: make test PYTHON=python3.12
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(or $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null),none)
endif
BIN := $(VENV)/bin
# pytest's processes; the servers are shared by all of them. One more than CI's cores, because many
# tests wait for a process.
WORKERS ?= 3
UV := $(shell command -v uv 2>/dev/null)
# What the four systems need.
EXTRAS := embedded,accounts,embeddings,pdf
# STAND=compose: in containers, which need Docker and no virtual environment. SYSTEM names one
# system's own file; make in a system's folder sets it.
ifeq ($(STAND),compose)
COMPOSE := docker compose -f $(if $(SYSTEM),systems/$(SYSTEM),deploy)/docker-compose.yml
NEEDED := docker
else
NEEDED = $(VENV)/run.stamp
endif
# In the embedded stand, SYSTEM=live_agent is for that system alone.
ifdef SYSTEM
run up migrate seed: export BEDPLATE_SYSTEMS := $(SYSTEM)
endif
# The stand of the tests: POSTGRES=16 embeds that version, STAND=pgbouncer puts a pooler in front.
TESTED = $(VENV)/dev.stamp
ifneq ($(filter-out 18,$(POSTGRES)),)
export TEST_POSTGRES := $(POSTGRES)
TESTED += $(VENV)/postgres$(POSTGRES).stamp
endif
ifneq ($(filter-out compose,$(STAND)),)
export TEST_STAND := $(STAND)
endif
# What differs from one PostgreSQL to another is met here; tests/stands.py says what is left out.
ON_POSTGRES := tests/systems $(addprefix tests/integration/,rows migrations jobs unit_of_work testing)

.DEFAULT_GOAL := help
.PHONY: docker help run up down status migrate seed env test test-postgres stands test-unit docs walk check format bench bench-start bench-cli bench-jobs bench-transaction bench-objects bench-cache bench-search bench-soft-delete demo-failures demo-lost-file requirements lines clean faults faults-once soak

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## start everything: servers, migration, seeds, API, relay, worker
	@$(BIN)/bedplate run

up: $(NEEDED) ## start PostgreSQL, Valkey and S3, wait, leave them running; STAND=compose: everything, by Docker
	@$(if $(COMPOSE),$(COMPOSE) up -d --build --wait,$(BIN)/bedplate up -d)

down: $(NEEDED) ## stop them
	@$(if $(COMPOSE),$(COMPOSE) down,$(BIN)/bedplate down)

status: $(NEEDED) ## show what runs
	@$(if $(COMPOSE),$(COMPOSE) ps --all,$(BIN)/bedplate status)

migrate: $(NEEDED) ## apply the migrations of every system
	@$(if $(COMPOSE),$(COMPOSE) run --rm --build migrate,$(BIN)/bedplate migrate)

seed: $(NEEDED) ## insert development data, once; SYSTEM=live_agent: that system's
	@$(if $(COMPOSE),$(COMPOSE) run --rm --build api bedplate seed --yes,$(BIN)/bedplate seed)

env: $(VENV)/run.stamp ## make .env from .env.example; print the variables of the running servers
	@test -f .env || { cp .env.example .env && echo "made .env from .env.example" >&2; }
	@$(BIN)/bedplate env

test: $(TESTED) ## run every test; POSTGRES=16, STAND=pgbouncer, PYTHON=python3.12 choose on what
	@$(BIN)/pytest tests/unit -q -n $(WORKERS)
	@$(BIN)/pytest tests -q --ignore tests/unit -n $(WORKERS) --dist loadfile

test-postgres: $(TESTED) ## run the tests that could differ by PostgreSQL: POSTGRES=16
	@$(BIN)/pytest $(ON_POSTGRES) --stands -q -n $(WORKERS) --dist loadfile

stands: $(VENV)/dev.stamp $(VENV)/postgres16.stamp ## run the systems' tests on every stand, print a table: STANDS=named, TESTS=tests/systems/sme
	@$(BIN)/python tools/stands.py --workers $(WORKERS) $(addprefix --tests ,$(TESTS)) $(STANDS)

test-unit: $(VENV)/dev.stamp ## run the tests that need no server
	@$(BIN)/pytest tests/unit -q -n $(WORKERS)

docs: $(VENV)/dev.stamp ## run every code block of the documentation; list those that are not run, and why
	@$(BIN)/pytest tests/docs -q -rP -n $(WORKERS)

walk: $(VENV)/dev.stamp ## follow the tutorial as a newcomer: an empty folder, a fresh environment
	@WALK=1 $(BIN)/pytest tests/docs/test_newcomers_walk.py -q --durations=1

check: $(VENV)/dev.stamp ## lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## put the code in the house's format
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format .

bench: bench-start bench-cli bench-jobs bench-transaction bench-objects bench-cache bench-search bench-soft-delete ## every benchmark

bench-start: $(VENV)/dev.stamp ## how long up and down take, each service's share
	@$(BIN)/python -m benchmarks.start

bench-cli: $(VENV)/dev.stamp ## how long commands take, against `python -c pass`
	@$(BIN)/python -m benchmarks.command_line

bench-jobs: $(VENV)/dev.stamp ## jobs a second and latency, against plain Celery
	@$(BIN)/python -m benchmarks.jobs

bench-transaction: $(VENV)/dev.stamp ## what a job in a transaction costs, how soon it runs; Celery, Procrastinate, PgQueuer
	@$(BIN)/python -m benchmarks.transaction

bench-cache: $(VENV)/dev.stamp ## cache hits a second, against redis-py, aiocache and cashews
	@$(BIN)/python -m benchmarks.cache

bench-objects: $(VENV)/dev.stamp ## put and get of files, against boto3, obstore and raw HTTP
	@$(BIN)/python -m benchmarks.objects

bench-search: $(VENV)/dev.stamp ## relevance by words, by meaning and by both; recall of vectors under filters
	@$(BIN)/python -m benchmarks.search

faults-once: $(VENV)/dev.stamp ## inject every fault once, the slow ones too
	@$(BIN)/pytest tests -m fault --faults -q -n $(WORKERS) --dist loadfile

bench-soft-delete: $(VENV)/dev.stamp ## what soft deletion costs each statement of a session
	@$(BIN)/python -m benchmarks.soft_delete

faults: $(VENV)/dev.stamp ## inject every fault again and again for 30 minutes, with new seeds: MINUTES, SEED
	@$(BIN)/python -m tests.faults.many --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/dev.stamp ## writers and faults for 10 minutes, then the history against the database: MINUTES, SEED
	@$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

demo-failures: $(VENV)/dev.stamp ## jobs and answers that are lost by the usual ways, and not by bedplate
	@$(BIN)/python -m benchmarks.failure_cases

demo-lost-file: $(VENV)/dev.stamp ## storage fails in mid commit: advanced-alchemy's file column, and ours
	@$(BIN)/python -m benchmarks.lost_file

requirements: $(VENV)/dev.stamp ## write each system's requirements.txt from pyproject.toml and constraints.txt
	@$(BIN)/python tools/requirements.py

lines: $(VENV)/run.stamp ## count the layer's lines, and each system's
	@$(BIN)/python tools/lines.py

docker:
	@docker compose version >/dev/null 2>&1 || \
	  { echo "STAND=compose needs Docker with Compose 2; without STAND nothing needs Docker" >&2; exit 1; }

clean: ## remove the virtual environment and caches (never .bedplate, which holds data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing bedplate and its servers into $(VENV) …" >&2
	@$(call install,.[$(EXTRAS)])
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing bedplate, its servers and the development tools into $(VENV) …" >&2
	@$(call install,.[$(EXTRAS)$(comma)dev])
	@touch $@ $(VENV)/run.stamp

$(VENV)/postgres%.stamp: pyproject.toml constraints.txt | $(VENV)/dev.stamp
	@echo "Installing PostgreSQL $* into $(VENV) …" >&2
	@$(call install,.[postgres$*])
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bedplate needs Python 3.11 to 3.14; try: make PYTHON=python3.12" >&2; exit 1; }
ifdef UV
	@uv venv -q --python $(PYTHON) $(VENV)
else
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "venv is missing; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
endif

comma := ,
ifdef UV
# Compiled, as pip does: else each of the many processes that a run starts does it for itself.
install = uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e "$(1)"
else
install = $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e "$(1)"
endif

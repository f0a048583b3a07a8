# One command per habit; `make help` lists them. Everything is installed in .venv, from the lock files.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
BENCH := .venv/.bench-installed
MUTANTS := .venv/.mutants-installed
PEERS := .peers/.installed
MLSERVER := .mlserver/.installed
# Arguments for what is run, as in `make load ARGS="--rate 1000"` or `make test ARGS="-k mock"`.
ARGS ?=
SEED ?= 1
FAULTS ?= 100
SUITE ?= trixie
# Property tests make other examples each day, and the same ones for whoever gives the day that was printed.
TODAY := $(shell date -u +%Y%m%d)

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: run demo check test lint load chaos soak mutants bench peers stack-test newcomer lock clean help rules dashboards

run: $(RUNTIME) ## Run mock server, sidecar and gateway until Ctrl-C
	@exec $(BIN)/python -m deploy.run --with-parent

demo: $(RUNTIME) ## The same with callers, and with Prometheus if it is installed; keeps nothing
	@exec $(BIN)/python -m deploy.demo --with-parent

check: lint ## Lint, then run the tests that start no process: a minute, for while one works
	$(BIN)/pytest --numprocesses 2 --dist worksteal --hypothesis-profile=quick \
		$(WITH_PROCESSES:%=--ignore=tests/%) $(ARGS)

# Two tests at a time take half as long; ARGS="-n 0" for one after another, and for --pdb.
test: lint ## Lint, then run all tests
	$(BIN)/pytest --numprocesses 2 --dist worksteal --hypothesis-seed=$(TODAY) $(ARGS)

lint: $(DEV) ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

load: $(RUNTIME) ## Put load on a running gateway, and compare what callers saw with what was recorded
	@exec $(BIN)/load-test $(ARGS)

chaos: $(DEV) ## Break things under load and compare what callers saw with what was recorded (SEED=1 FAULTS=100)
	@$(BIN)/python -m tests.chaos --seed $(SEED) --faults $(FAULTS) $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python -m tests.chaos.endpoints --seed $(SEED) --faults $(FAULTS)

soak: $(DEV) ## Take the sidecar away for five minutes under load
	@exec $(BIN)/python -m tests.chaos.outage --seconds 300 --rate 1000 $(ARGS)

mutants: $(MUTANTS) ## Put small faults into the code and tell which no test notices (ARGS="--seed 1 --count 300 'invoker/*'")
	@exec $(BIN)/python -m tests.mutants $(ARGS)

bench: $(BENCH) $(if $(filter peers,$(ARGS)),$(PEERS)) ## Measure speed beside yardsticks, and write tests/bench/RESULTS.md
	@for command in wrk nginx; do command -v $$command >/dev/null || missing=1; done; \
		test -z "$$missing" || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends wrk nginx-light >/dev/null; } || \
		{ echo 'make: wrk or nginx is missing; on Debian: apt-get install wrk nginx-light' >&2; exit 2; }
	@$(BIN)/python -m tests.bench $(ARGS)
	@test -n "$(ARGS)" || $(BIN)/python -m tests.bench report

peers: $(DEV) $(PEERS) $(MLSERVER) ## Have LiteLLM's proxy as an upstream and as a caller, and MLServer as an upstream
	$(BIN)/pytest -n 0 -m peers tests/peers $(ARGS)

dashboards: $(DEV) ## Write Grafana's dashboards anew from deploy/grafana
	@$(BIN)/python -m deploy.grafana.generate

stack-test: $(DEV) ## Build and run the stack of deploy/compose.yaml with an engine of its own (root, Debian)
	@for command in curl dockerd ip iptables mmdebstrap slirp4netns; do command -v $$command >/dev/null || missing=1; done; \
		test -z "$$missing" || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
			apt-get install -y -qq --no-install-recommends $(STACK_PACKAGES) >/dev/null; } || \
		{ echo 'make: something is missing; on Debian, as root: apt-get install $(STACK_PACKAGES)' >&2; exit 2; }
	@exec $(BIN)/python -m tests.stack

newcomer: $(DEV) ## Run all tests on a fresh Debian 13, as an ordinary user (root, Debian; SUITE=bookworm for Debian 12)
	@exec $(BIN)/python -m tests.newcomer --suite $(SUITE) -- $(ARGS)

rules: $(RUNTIME) ## Write Kubernetes' PrometheusRules anew from deploy/prometheus/rules
	@$(BIN)/python -m deploy.kubernetes.prometheus_rules

lock: $(DEV) ## Write the lock files anew from pyproject.toml
	$(LOCK) --group build --output-file requirements.lock
	$(LOCK) --group build --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group build --extra bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(LOCK) --group build --extra mutants --constraint requirements-dev.lock --output-file requirements-mutants.lock
	$(LOCK_PEERS) tests/peers/requirements.in --python-version 3.11 --output-file requirements-peers.lock
	$(LOCK_PEERS) tests/peers/mlserver.in --python-version 3.11 --output-file requirements-mlserver.lock
	$(POETRY) lock --no-interaction

clean: ## Remove .venv and caches; recorded data stays
	rm -rf .venv .peers .mlserver .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

WITH_PROCESSES := bench chaos clients deploy stack system metrics_sidecar/history/contract metrics_sidecar/files metrics_sidecar/commands \
	metrics_sidecar/api/test_edges.py metrics_sidecar/sqlite/test_reader.py test_anywhere.py test_docs.py test_package.py \
	$(addprefix invoker/,delivery/test_delivery.py front/test_held_bodies.py front/test_openapi.py front/test_real_callers.py journal/test_durability.py process protocols/test_large_bodies.py upstream/test_pool.py) \
	$(addprefix shared/test_,init.py log_output.py logs.py serving.py)

STACK_PACKAGES := curl docker.io iproute2 iptables mmdebstrap slirp4netns

# --universal: one lock for every Python from 3.11 on and every platform.
LOCK_PEERS := $(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
LOCK := $(LOCK_PEERS) pyproject.toml

# Poetry asks PyPI in its own way. Through an index that doesn't answer that: POETRY_PYPI_MIRROR_URL=…/simple/ make lock
POETRY := $(BIN)/uvx --quiet --with poetry-plugin-pypi-mirror poetry

# The build backend is in the lock, so the project is built with it and nothing is fetched without a hash.
$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(BENCH): requirements-bench.lock $(RUNTIME)
	$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

$(MUTANTS): requirements-mutants.lock $(DEV)
	$(PIP) --require-hashes -r requirements-mutants.lock
	@touch $@

# Some hundred packages, of versions that may be others than ours; uv installs them in a fraction of pip's time.
$(PEERS): requirements-peers.lock $(DEV)
	$(PYTHON) -m venv --clear --without-pip .peers
	$(BIN)/uv pip install --quiet --python .peers/bin/python --require-hashes -r requirements-peers.lock
	@touch $@

# Its lock has nothing for Python 3.13 and above, for which it isn't made: the tests say so then.
$(MLSERVER): requirements-mlserver.lock $(DEV)
	$(PYTHON) -m venv --clear --without-pip .mlserver
	$(BIN)/uv pip install --quiet --python .mlserver/bin/python --require-hashes -r requirements-mlserver.lock
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
		{ echo 'make: python3 is missing; on Debian: apt-get install python3 python3-venv' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $$($(PYTHON) --version) is too old: 3.11 or newer is needed (make PYTHON=...)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
			apt-get update -qq && apt-get install -y -qq python3-venv; } || \
		{ echo 'make: the venv module is missing; on Debian: apt-get install python3-venv' >&2; exit 2; }
	$(PYTHON) -m venv .venv

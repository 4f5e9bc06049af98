# `make reproduce` and `make test` need nothing but make and Python 3.11, 3.12 or 3.13.
# They make .venv on the first call; later calls install nothing while requirements.lock stays the same.

PYTHON ?=
PROFILE ?= smoke
ARGS ?=
RUN := .venv/bin/python -m mammolib
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help reproduce rerender reevaluate test lint lab run preview html profile setup clean-venv

help:
	@echo "make reproduce           the study on phantoms: sets up .venv, runs the demo profile, prints the result table"
	@echo "make rerender            demo's committed predictions evaluated again: seconds, no TensorFlow"
	@echo "make reevaluate          demo's trained network asked again, then 03 and 04; after make reproduce (or PROFILE=...)"
	@echo "make test                lint, unit tests, the notebooks' law, and the smoke profile"
	@echo "make lab                 JupyterLab on notebooks/"
	@echo "make run PROFILE=control any profile of params/; more arguments in ARGS='--from 03_evaluation'"
	@echo "make preview PROFILE=... what 01 would make of an archive and a pathology list, from headers alone"
	@echo "make html PROFILE=demo   a finished run as one HTML file, outputs/demo/run.html, for people without Jupyter"
	@echo "make lint                ruff only"
	@echo "make setup               .venv only (about 3 minutes)"
	@echo "make clean-venv          remove .venv"
	@echo "PYTHON=/path/to/python   chooses the interpreter for .venv"

reproduce: setup
	@$(RUN) run demo
	@$(RUN) report demo

rerender: setup
	@$(RUN) run rerender $(ARGS)
	@$(RUN) report demo --outputs outputs/rerender

reevaluate: setup
	@$(RUN) run $(if $(filter command line environment,$(origin PROFILE)),$(PROFILE),demo) --from 03_evaluation $(ARGS)

run: profile setup
	@$(RUN) run $(PROFILE) $(ARGS)

preview: profile setup
	@$(RUN) preview $(PROFILE) $(ARGS)

html: profile setup
	@$(RUN) html $(PROFILE) $(ARGS)

profile: # before 3 GB are installed for a profile that is not there
	@ls "params/$(PROFILE)"/*.yaml >/dev/null 2>&1 || { echo "error: no profile is called '$(PROFILE)'; there are $$(cd params && ls -d */*.yaml | cut -d/ -f1 | uniq | xargs)" >&2; exit 2; }

test: lint
	.venv/bin/python -m pytest

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

lab: setup
	TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/jupyter lab --notebook-dir=notebooks $(ARGS)

# The stamp is written last and holds what the environment was made from, so that an interrupted install starts again.
setup:
	@set -e; \
	stamp="$$(cat requirements.lock pyproject.toml | cksum) $(CURDIR)"; \
	if [ "$$(cat .venv/.installed 2>/dev/null)" = "$$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then exit 0; fi; \
	rm -f .venv/.installed; \
	check='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if ! .venv/bin/python -c "$$check" 2>/dev/null || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
		found=; \
		for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
			if "$$candidate" -c "$$check" 2>/dev/null; then found="$$candidate"; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "error: no Python 3.11, 3.12 or 3.13 among $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python) (TensorFlow has no wheel for others); install one, or give PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
			echo "error: $$found has no venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; \
			exit 1; \
		fi; \
		echo "Making .venv with $$("$$found" --version)"; \
		rm -rf .venv; \
		"$$found" -m venv .venv; \
	fi; \
	echo "Installing requirements.lock (about 3 GB on disk; a few minutes)"; \
	.venv/bin/python -m pip install --require-hashes -r requirements.lock; \
	.venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e .; \
	echo "$$stamp" > .venv/.installed

clean-venv:
	rm -rf .venv

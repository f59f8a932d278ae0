# Two commands: `make lab` opens the course, `make test` proves it. `make help` lists the rest.
# Set on the command line: PORT=8888 HOST=127.0.0.1 (lab), LESSON=05 (present, handout, edit, sync), PYTHON=python3.12,
# PROVE=all or PROVE=05,09 (test: everything anew, or these lessons)

HOST = 127.0.0.1
PORT ?= 8888
PYTHON =
PROVE ?=
LESSON =
DECK =
BLOCK = 1
RUN = .venv/bin/python

# pip runs again if the pins changed, if .venv is broken, or if this folder was moved.
HERE := $(shell cd .venv 2>/dev/null && bin/python -I -c \
  'import course_utils; print(course_utils.__file__)' 2>/dev/null)
ifneq ($(HERE),$(CURDIR)/course_utils/__init__.py)
REPAIR = repair
endif

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

lab: setup  ## open the course in JupyterLab; PORT= HOST=
	@$(RUN) -m course_utils lab --host "$(HOST)" --port "$(PORT)"

present: setup  ## teach from a lesson, one step on the screen; LESSON=05, or DECK=PKU BLOCK=3
	@$(RUN) -m course_utils present $(if $(DECK),--playlist "$(DECK)" --block "$(BLOCK)","$(LESSON)") \
	  --port "$(PORT)"

handout: .venv/ready-to-hand-out  ## write a lesson as one page to read or print; LESSON=05
	@$(RUN) -m course_utils handout $(LESSON)

test: .venv/ready-to-test lint  ## prove the course: what CI runs; PROVE=all
	@PROVE="$(PROVE)" $(RUN) -m pytest -n 2 --dist loadscope --no-loadscope-reorder tests

setup: .venv/ready  ## make .venv with the exact pins and the package
	@:

lint: .venv/ready-to-test  ## ruff, for the code and the notebooks
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

notebooks: .venv/ready-to-test  ## run the stored lessons and compare their checks
	@$(RUN) -m pytest -n 2 --dist loadscope tests/notebooks

edit: .venv/ready-to-test  ## write edit/..., a lesson as text; LESSON=05
	@$(RUN) -m course_utils edit "$(LESSON)"

sync: .venv/ready-to-test  ## bring edit/... back, run it, store it; LESSON=05
	@$(RUN) -m course_utils sync "$(LESSON)"

assets: .venv/ready-to-test  ## rebuild the checkpoints in assets/
	@set -e; for script in assets/checkpoints/*.py; do echo "$$script"; $(RUN) "$$script"; done

constraints: .venv/ready  ## find again what the pins need, for all systems at once
	@$(RUN) -m venv build/uv
	@build/uv/bin/python -m pip install --quiet uv==0.13.9
	@build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-build \
	  --no-annotate --custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

bench: .venv/ready-to-test  ## compare with the peers, side by side
	@$(RUN) -m tests.benchmarks

clean:  ## remove caches and built copies; .venv, edit/ and your progress stay
	rm -rf build .pytest_cache .ruff_cache *.egg-info
	find course_utils tests notebooks -name __pycache__ -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt $(REPAIR)
	@$(FIND_PYTHON)
	@$(RUN) -I course_utils/setup/install.py
	@touch $@

.venv/ready-to-test: pyproject.toml constraints.txt $(REPAIR)
	@$(FIND_PYTHON)
	@$(RUN) -I course_utils/setup/install.py test dev
	@touch .venv/ready $@

.venv/ready-to-hand-out: pyproject.toml constraints.txt $(REPAIR)
	@$(FIND_PYTHON)
	@$(RUN) -I course_utils/setup/install.py handout
	@touch .venv/ready $@

# A .venv that runs is kept; else one is made with the first Python >= 3.11.
define FIND_PYTHON
test -d .venv && $(RUN) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
  found=; \
  for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
    version=`$$python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null` || continue; \
    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then break; fi; \
    found="$$found $$python ($$version)"; version=; \
  done; \
  if test -z "$$version"; then \
    echo "The course needs Python 3.11 or newer; found:$${found:- no Python at all}." >&2; \
    echo "Install one (https://www.python.org/downloads), or name it: make setup PYTHON=..." >&2; \
    exit 1; \
  fi; \
  echo "Making .venv with $$python ($$version)"; \
  $$python -m venv --clear .venv; \
}
endef

.PHONY: help lab present handout test setup lint notebooks edit sync assets constraints bench clean repair

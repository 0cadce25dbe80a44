# Two commands do it all on a fresh machine with Python >= 3.10, a C compiler, Java 17 and Nextflow >= 25.04 or Maven:
#   make demo    simulate a labelled particle set, run the workflow on it, print what came out
#   make test    linters, unit tests, workflow tests (parts of it: make lint, test-unit, test-slow, test-workflow)
# What takes longer, before a release: make test-long
# On a cluster, or with the tools to make one: make test-hpc

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# two files at a time, each in one process
BY_FILE := -n 2 --dist loadfile --no-loadscope-reorder
BENCHES := $(patsubst %/run.py,%,$(wildcard benchmarks/*/run.py))

.PHONY: help setup demo test test-unit test-slow test-workflow test-long test-hpc lint lock images rib50s bundle screenshot bench-engine bench-states bench-real bench-latent bench-known clean

# What there is to make
help:
	@awk '/^#/ {text = text substr($$0, 2)} /^[a-z0-9-]+:/ && text {sub(":.*", ""); printf "%-16s%s\n", $$0, text} !/^#/ {text = ""}' Makefile

# The environment in .venv, the compiled kernels, and Nextflow at .tools/nextflow
setup: .venv/.done .tools/.done

# The environment holds exactly what requirements.lock lists, hashes checked, and the package with its compiled kernels.
.venv/.done: requirements.lock pyproject.toml setup.py setup/uv.lock $(wildcard src/drgnalign/*.c src/drgnalign/*/*.c)
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed" if sys.version_info < (3, 10) else 0)'
	@command -v cc >/dev/null || { echo "ERROR: a C compiler is needed: install gcc" >&2; exit 1; }
	@echo "Setting up .venv: Python packages as requirements.lock lists them, and the compiled kernels (minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement setup/uv.lock
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# A launcher at .tools/nextflow: the Nextflow on the PATH if there is one, else one assembled by Maven.
.tools/.done: setup/nextflow/pom.xml setup/nextflow/launcher.sh setup/nextflow/install.sh
	@bash setup/nextflow/install.sh
	@touch $@

# Simulate a labelled particle set, run the workflow on it, compare with the truth: demo/results
demo: setup
	@$(BIN)/python benchmarks/demo.py

# The form of all code: ruff, mypy, nextflow lint
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for folder in benchmarks $(BENCHES); do $(BIN)/mypy $$folder/*.py || exit 1; done
	NXF_SYNTAX_PARSER=v2 .tools/nextflow lint main.nf nextflow.config conf modules subworkflows

# All that CI runs
test: lint test-unit test-slow test-workflow

# Of units, on two cores
test-unit: setup
	$(PYTEST) $(BY_FILE) -m "not slow and not long" tests/unit

# Of cryoDRGN, Frealign and Chromium as they are started; of states, junk and poses that are found again, on two cores
test-slow: setup
	bash tests/browser/get_chromium.sh
	$(PYTEST) $(BY_FILE) -m "slow and not long" tests/unit tests/browser

# Of real runs on this machine, which are two at a time by themselves
test-workflow: setup
	$(PYTEST) tests/workflow

# What takes minutes each: further ways to stop and go on, walk-throughs of the docs as they stand; with RELION, where it is
test-long: setup
	$(PYTEST) $(BY_FILE) -m long tests/unit
	$(PYTEST) -m long tests/workflow

# Images by Apptainer; a real Slurm, started for the tests and stopped again: faults done to it, rounds of a 50S set; RELION.
test-hpc: setup
	bash tests/containers/get_apptainer.sh
	bash tests/workflow/get_relion.sh
	$(BIN)/python tests/slurm/cluster.py
	DRGNALIGN_HPC=1 $(PYTEST) -m "" tests/slurm tests/containers
	$(MAKE) test-long

# Labelled 50S sets (needs the test data): both arms, against the figures that the workflow must reach.
rib50s: setup
	$(BIN)/python benchmarks/rib50s/run.py --size small

# The native engine beside the Frealigns in FREALIGNX_DIR and FREALIGN9_DIR: time, errors, resolution (half an hour).
bench-engine: setup
	$(BIN)/python benchmarks/engine/run.py

# Which method finds the states of labelled 50S sets (needs the test data; hours with all seeds).
bench-states: setup
	$(BIN)/python benchmarks/states/run.py

# The same with what real images have besides noise (needs the test data; a night, what is recorded is not run again).
bench-real: setup
	$(BIN)/python benchmarks/real/run.py

# What a linear latent model says of these sets (needs the test data; half an hour, and what makes the sets).
bench-latent: setup
	$(BIN)/python benchmarks/latent/run.py

# Maps and models of 50S states held against maps of them (needs the test data; an hour, what is recorded is not run again).
bench-known: setup
	$(BIN)/python benchmarks/known/run.py

# The picture of the report in the README: of `make demo`, by Chromium
screenshot: setup
	bash tests/browser/get_chromium.sh
	test -e demo/results/report.html || $(MAKE) demo
	$(BIN)/python benchmarks/screenshot.py

# The report's JavaScript, from report_page/: the same bytes on every machine with Node and npm.
bundle:
	cd report_page && npm ci --ignore-scripts && npm run --silent build

docs/parameters.md: nextflow_schema.json docs/generate_parameters.py src/drgnalign/external/*.py
	$(BIN)/python docs/generate_parameters.py

# The images get the same versions as the environment, for the Python of their base.
IMAGE_LOCK = $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --constraint requirements.lock --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" pyproject.toml

# The lock files anew, from pyproject.toml
lock:
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --extra cryodrgn --extra containers --extra dev \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	$(IMAGE_LOCK) --output-file containers/drgnalign.lock
	$(IMAGE_LOCK) --extra cryodrgn --output-file containers/cryodrgn.lock
	grep -A1000 '^uv==' requirements.lock | awk 'NR==1 || /^ /{print; next} {exit}' > setup/uv.lock

# BASE: docker://NAME@sha256:DIGEST or a folder with a distribution that has Python 3.11; FREALIGN: your programs.
IMAGES ?= images
images: setup
	$(BIN)/python containers/build.py drgnalign --base $(BASE) --out $(IMAGES)
	$(BIN)/python containers/build.py cryodrgn --out $(IMAGES)
	$(if $(FREALIGN),$(BIN)/python containers/build.py frealign --binaries $(FREALIGN) --out $(IMAGES))

# Remove what demo and runs in this folder left
clean:
	rm -rf demo .nextflow .nextflow.log* work

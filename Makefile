# Two commands: `make demo` and `make test`. Each makes .venv once, installs what it needs, and runs.
PYTHON ?= python3.11
DEMO_OUT ?= runs/demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
SOURCES := modeling_radir dataset_scripts radir_training radir_search radir eval train_accelerate.py tests benchmarks tools

.PHONY: demo test test-shared lint format clean

demo: $(VENV)/base.installed
	$(BIN)/radir demo --out $(DEMO_OUT)

# All tests as in a clone with nothing beside it; then those that use the shared open data, where these are.
SHARED_DATA := $(abspath $(or $(RADIR_SHARED_DATA),../shared/data))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: lint
	RADIR_SHARED_DATA=none $(PYTEST) -m "not slow" --durations=10
	@if test -d "$(SHARED_DATA)"; then $(MAKE) --no-print-directory test-shared; fi

test-shared: $(VENV)/dev.installed
	RADIR_SHARED_DATA="$(SHARED_DATA)" $(PYTEST) -m "shared and not slow" --durations=5

lint: $(VENV)/dev.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torchvision's operators are looked for whenever the interpreter starts, hence a .pth file (see the module).
$(VENV)/base.installed: $(VENV)/bin/python setup.cfg constraints.txt tools/torchvision_on_cpu_torch.py
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]'
	site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	cp tools/torchvision_on_cpu_torch.py "$$site/" && \
	echo 'import torchvision_on_cpu_torch' > "$$site/torchvision_on_cpu_torch.pth"
	touch $@

$(VENV)/dev.installed: $(VENV)/base.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs

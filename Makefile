# Two commands: `make demo` and `make test`. Each makes .venv once, installs what it needs, and runs.
PYTHON ?= python3.11
DEMO_OUT ?= runs/demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
SOURCES := modeling_radir dataset_scripts eval configs radir_cli radir_search radir.py train_accelerate.py tests benchmarks tools

.PHONY: demo test lint format clean

demo: $(VENV)/base.installed
	$(BIN)/radir demo --out $(DEMO_OUT)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" --durations=10

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
	$(PIP) install --quiet --constraint constraints.txt --editable .
	site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	cp tools/torchvision_on_cpu_torch.py "$$site/" && \
	echo 'import torchvision_on_cpu_torch' > "$$site/torchvision_on_cpu_torch.pth"
	touch $@

$(VENV)/dev.installed: $(VENV)/base.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs

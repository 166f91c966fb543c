# `make quickstart` and `make test` set up everything they need in .venv; nothing else on the machine is touched.
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.10,$(if $(shell python$(v) -c 0 2>/dev/null && echo y),python$(v))) python3)
VENV := .venv
VENV5 := .venv-v5
RUN := $(VENV)/bin/python
export HF_HUB_OFFLINE ?= 1
SENTENCE ?= 味道不错，服务员态度很好，但是等位等了一个多小时，价格偏贵，不过停车很方便。

.PHONY: help venv quickstart test test-all test-v5 test-js test-cpp bench lint clean

help:  ## show this help
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 24

venv: $(VENV)/.installed  ## the environment, with the versions in constraints.txt

NATIVE := setup.py $(wildcard trainer_ext/inference/native/*.[ch])

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; assert (3, 10) <= v <= (3, 12), f"Python 3.10 to 3.12 is needed, not {v}: make PYTHON=python3.11"'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel torch
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[optimum,onnx,test,dev,bench]'
	@touch $@

quickstart: venv  ## train on the embedded reviews, export to ONNX and INT8, predict (under 6 minutes on 2 cores)
	$(RUN) train.py configs/quickstart.yaml --overwrite_output_dir true
	$(RUN) export.py outputs/quickstart --output_dir outputs/quickstart-onnx
	$(RUN) predict.py --model outputs/quickstart-onnx --text '$(SENTENCE)'
	@echo
	@echo 'What is there now:'
	@echo '  outputs/quickstart/       the best checkpoint, metrics.json, README.md (model card), plots/'
	@echo '  outputs/quickstart-onnx/  model.onnx, model_quantized.onnx (INT8), export_report.json'
	@echo 'Your own sentence:  $(RUN) predict.py --model outputs/quickstart-onnx --text "..."'

test: venv  ## the test suite (under 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m 'not slow' -n auto --dist loadfile --no-loadscope-reorder

test-all: venv  ## the slow tests too
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-js: venv  ## transformers.js answers from an export as we do (needs Node)
	npm install --prefix tests/node --ignore-scripts --no-package-lock --no-audit --no-fund
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests/export/test_transformers_js.py

test-cpp: venv  ## examples/cpp, compiled, answers as we do (needs g++; apt brings the headers)
	sh tests/cpp/get_headers.sh tests/cpp/include
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests/export/test_cpp.py

test-v5: $(VENV5)/.installed  ## the test suite with transformers 5 and without Optimum, in .venv-v5
	OMP_NUM_THREADS=1 $(VENV5)/bin/python -m pytest -m 'not slow' -n auto --dist loadfile --no-loadscope-reorder

$(VENV5)/.installed: setup.cfg pyproject.toml constraints-v5.txt $(NATIVE)
	test -x $(VENV5)/bin/python || $(PYTHON) -m venv $(VENV5)
	$(VENV5)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-v5.txt setuptools wheel torch
	$(VENV5)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-v5.txt --no-build-isolation -e '.[onnx,test,bench]'
	@touch $@

bench: venv  ## the ratios in the README, measured side by side
	$(RUN) benchmarks/training_speed.py
	$(RUN) benchmarks/tokenising_speed.py
	$(RUN) benchmarks/balancing_speed.py

lint: venv  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:  ## remove the environment and the outputs
	rm -rf $(VENV) $(VENV5) outputs wandb build *.egg-info trainer_ext/inference/native/*.so

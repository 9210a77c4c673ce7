PYTHON ?= python
.PHONY: help install test slow docs cluster site wheel lint format types mine ui walkthrough benchmarks ci

help: ; @awk -F ': ; ' '/^[a-z]+: ;/ && !/^help/ {printf "make %-12s %s\n", $$1, $$2}' Makefile
install: ; $(PYTHON) -m pip install -r requirements-dev.txt
test: ; $(PYTHON) -m pytest
slow: ; $(PYTHON) -m pytest -m slow
docs: ; $(PYTHON) -m pytest -m docs
cluster: ; $(PYTHON) -m pytest -m cluster
site: ; NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict
wheel: ; $(PYTHON) -m build
lint: ; $(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && lint-imports
format: ; $(PYTHON) -m ruff check --fix --exit-zero . && $(PYTHON) -m ruff format .
types: ; $(PYTHON) -m mypy
mine: ; mlflow run . -e mine --env-manager local
ui: ; MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///mlflow.db
walkthrough: ; jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False experiments/walkthrough.ipynb
benchmarks: ; for name in engine bitplane checkpoints jobs dataset_memory plane_store scoring trial_overhead luck live; do $(PYTHON) -m benchmarks.$$name || exit 1; done
ci: ; PYTHON=$(PYTHON) .ci/run

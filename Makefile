# Every target makes the virtual environment it needs and can be run again cheaply.

PYTHON ?= python3
# Pinned: an unpinned torch resolves to the newest CUDA build, several gigabytes.
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=
WORKERS ?= 2
# The CUDA kernels take minutes of two cores to compile: not for the demo and the tests of a machine without a GPU.
ifeq ($(wildcard /dev/nvidiactl /dev/dxg),)
export STEEL_CUDA_KERNELS ?= 0
endif

STARTED := $(shell date +%s)
# The environments and what Python keeps in them are made here; without compiled modules every process starts slowly.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := pyproject.toml setup.py $(wildcard csrc/*.py csrc/*/*)

.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test test-slow sanitizers smoke lint docs site clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "variables: PYTHON=$(PYTHON)  TORCH=$(TORCH)  WORKERS=$(WORKERS) test processes  PYTEST_ARGS=…"

demo: .venv-demo/ready ## real text → trained model → Hugging Face folder, in demo_run/
	PATH="$(CURDIR)/.venv-demo/bin:$$PATH" DEMO_STARTED=$(STARTED) bash examples/demo/run_demo.sh

demo-clean: ## removes what the demo made
	rm -rf demo_run

test: .venv-test/ready ## the default test suite
	PATH="$(CURDIR)/.venv-test/bin:$$PATH" HF_HUB_OFFLINE=1 python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

test-slow: .venv-test/ready ## the tests that take minutes each
	PATH="$(CURDIR)/.venv-test/bin:$$PATH" HF_HUB_OFFLINE=1 python -m pytest -m slow $(PYTEST_ARGS)

smoke: ## the main commands in a fresh environment, for PYTHON=… and TORCH=…
	$(PYTHON) -m venv --clear .venv-smoke
	.venv-smoke/bin/python tools/environment.py --torch "$(TORCH)" --ready .venv-smoke/ready
	PATH="$(CURDIR)/.venv-smoke/bin:$$PATH" bash tests/smoke/run_smoke.sh

sanitizers: .venv-test/ready ## the CUDA kernels, emulated, and the encoder under AddressSanitizer, UBSan and a race detector
	PATH="$(CURDIR)/.venv-test/bin:$$PATH" HF_HUB_OFFLINE=1 python -m pytest -m slow tests/ops/native/test_sanitizers.py tests/tokenizer/test_bpe_sanitizers.py

lint: .venv-test/ready ## ruff (rules and format), clang-format and mypy
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/clang-format --dry-run -Werror $(wildcard csrc/*/*.cpp csrc/*/*.h csrc/ops/*/*)
	.venv-test/bin/mypy

site: .venv-docs/ready ## the documentation as a site, in build/site; a warning is an error
	mkdir -p build/pages
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

docs: .venv-test/ready ## writes the pages and figures that come from the code
	set -e; for script in tools/docs/*.py; do .venv-test/bin/python $$script; done

clean: ## removes environments, builds and caches
	rm -rf .venv-demo .venv-test .venv-smoke .venv-docs build dist *.egg-info steel_megatron/*.so steel_megatron/build_info.json
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv-demo/ready: $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python tools/environment.py --torch "$(TORCH)" --extras demo --ready $@ --import \
		torch.distributed.run torch.distributed.checkpoint torch._dynamo torch.utils.tensorboard pyarrow.parquet \
		matplotlib.pyplot transformers.models.llama.modeling_llama

.venv-test/ready: $(SOURCES)
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python tools/environment.py --torch "$(TORCH)" --extras dev --ready .venv-test/installed
	@# Ships the Qwen vocabulary that some tests read; without it they are skipped and say so.
	.venv-test/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile dashscope \
		|| echo "WARNING: dashscope could not be installed: the tests on the real Qwen vocabulary will be skipped"
	touch $@

# The site reads the package's text: the package itself is not installed.
.venv-docs/ready: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

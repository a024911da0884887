# Needs Python 3.11 to 3.13, make and a package registry. The rest comes into .venv by itself, as locked in uv.lock.

ENVIRONMENT := .venv/.synced
RUN := .venv/bin

.PHONY: help demo test check format bench clean

help:
	@echo "make demo    see it work on this machine, without a cluster and without AWS"
	@echo "make test    all tests; those with a real control plane if KUBEBUILDER_ASSETS is set"
	@echo "make check   ruff, mypy, import-linter"
	@echo "make format  let ruff rewrite what it can"
	@echo "make bench   how fast it is, beside a bare server on the same machine"
	@echo "make clean   remove the environment and all caches"

demo: $(ENVIRONMENT)
	$(RUN)/iam4kube demo $(ARGS)

test: $(ENVIRONMENT)
	$(RUN)/pytest $(ARGS)

check: $(ENVIRONMENT)
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports

format: $(ENVIRONMENT)
	$(RUN)/ruff check --fix
	$(RUN)/ruff format

bench: $(ENVIRONMENT)
	$(RUN)/python -m bench $(ARGS)

clean:
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist

$(ENVIRONMENT): pyproject.toml uv.lock tools/environment
	tools/environment
	@touch $@

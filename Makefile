# Every target works from any folder name, twice, and after Ctrl-C.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
TOOLS := tests/tools
export LLM_LOCAL_PORT ?= 8080

.PHONY: help demo demo-clean test test-unit integration lint sanity build molecule bench docs clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## Serve a model on this machine, prove it, switch it (no root, no systemd)
	@$(TOOLS)/demo.sh

demo-clean: ## Stop the demo and remove what it made
	@$(TOOLS)/demo.sh clean

test: ## Everything: lint, unit, a real Docker Engine, sanity, build, real hosts (root or sudo)
	@$(TOOLS)/check.sh lint unit integration sanity build molecule

test-unit: ## Unit and contract tests, with a real hub client and a real llama.cpp
	@$(TOOLS)/check.sh unit

integration: ## The facts beside a real Docker Engine (root or sudo)
	@$(TOOLS)/check.sh integration

lint: ## ruff, mypy, yamllint, shellcheck, ansible-lint, documentation
	@$(TOOLS)/check.sh lint

sanity: ## ansible-test sanity, without ignores
	@$(TOOLS)/check.sh sanity

build: ## Build the archive, install it, read it
	@$(TOOLS)/check.sh build

molecule: ## Scenarios on real hosts; one of them with SCENARIO=fleet
	@$(TOOLS)/check.sh molecule $(SCENARIO)

bench: ## Measure against peers; prints a table and JSON lines
	@$(TOOLS)/check.sh bench

docs: ## Write the generated parts of the documentation anew
	@$(TOOLS)/check.sh docs

clean: ## Remove environments, caches and test hosts
	@$(TOOLS)/check.sh clean

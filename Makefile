# The verbs of this repository. Each recipe is one call.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
AGENT ?=
DOCS ?=
export DOCS
TO ?=
export TO
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run ingest test-setup test test-installs soak eval bench lint format typecheck doctor graph manifests images eject lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: ## Make .venv from the hashed lock (the verbs below do it when needed)
	@$(PYTHON) tools/bootstrap.py

run: setup ## Start all agents, or one: make run AGENT=rag-chat
	@$(VENV_PYTHON) -m repo_tools run $(AGENT) $(ARGS)

ingest: ## Give rag-chat your documents: make ingest DOCS=path/to/folder
	@$(PYTHON) tools/bootstrap.py --with-document-readers
	@$(VENV_PYTHON) -m repo_tools ingest $(if $(DOCS),"$$DOCS") $(ARGS)

test-setup:
	@$(PYTHON) tools/bootstrap.py --with-node-clients --with-document-readers

test: test-setup ## Run every test; ARGS goes to pytest: make test ARGS="-k citations"
	@$(VENV_PYTHON) -m pytest -n auto --dist loadgroup $(ARGS)

test-installs: test-setup ## Install each agent as a newcomer and as azd would, and run it (many minutes)
	@TEST_INSTALLS=1 $(VENV_PYTHON) -m pytest -n 0 -q -s -m installs $(ARGS)

soak: test-setup ## Kill the agents again and again under load, longer than the tests do
	@SOAK=long $(VENV_PYTHON) -m pytest -n 0 -q --durations=0 $(wildcard agents/*/tests/test_soak.py agents/*/tests/test_deaths.py) $(ARGS)

eval: setup ## Ask the agents what has a known answer and hold their thresholds; ARGS="--help" lists the options
	@$(VENV_PYTHON) -m repo_tools evaluate $(ARGS)

bench: setup ## Measure speed and memory; one: make bench ARGS="retrieval --size 20000"
	@$(VENV_PYTHON) -m repo_tools bench $(ARGS)

lint: setup ## Check style and formatting
	@$(VENV_PYTHON) -m repo_tools lint

format: setup ## Format the code and fix what can be fixed
	@$(VENV_PYTHON) -m repo_tools format

typecheck: setup ## Check types
	@$(VENV_PYTHON) -m mypy

doctor: setup ## Say what a deployment would fail on; ARGS="--fix" repairs what is safe, ARGS=path looks elsewhere
	@$(VENV_PYTHON) -m repo_tools doctor $(ARGS)

graph: setup ## Draw langgraph-planner's graph into its README
	@$(VENV_PYTHON) -m repo_tools graph

manifests: setup ## Write each agent's agent.manifest.yaml, for azd ai agent init -m
	@$(VENV_PYTHON) -m repo_tools manifests

images: setup ## Build the agents' images with docker, podman or buildah; their bills of materials go to dist/
	@$(VENV_PYTHON) -m repo_tools images $(AGENT) $(ARGS)

eject: setup ## Write a project of one agent that stands alone: make eject AGENT=rag-chat TO=path/to/new/folder
	@$(VENV_PYTHON) -m repo_tools eject "$(AGENT)" $(if $(TO),--to "$$TO")

lock: setup ## Resolve the dependencies again; ARGS="--upgrade" takes newer ones
	@$(VENV_PYTHON) -m repo_tools lock $(ARGS)

clean: ## Remove .venv, local state and caches
	@$(PYTHON) tools/clean.py

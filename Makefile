# Every task of the project. Each target says what it needs and brings it (`make setup`); none needs another one first.
# Recipes stay one line where they can: what is longer lives in scripts/, modules/build.sh and capnp/regenerate.sh.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Always the whole workspace: features then unify in one way, and nothing is compiled twice. A narrower selection
# (-p) builds most dependencies again.
BIN := $(or $(CARGO_TARGET_DIR),target)/release
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help setup setup-demo setup-bench guests build demo test soak torture fmt fmt-check lint doc bench bench-micro schema regenerate clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what building and testing need (apt packages, the wasm target)
	@scripts/setup build

setup-demo: setup
	@scripts/setup demo

setup-bench: setup
	@scripts/setup bench

guests: setup ## Compile the standard modules to WebAssembly
	@modules/build.sh

build: setup ## Build the programs for use: `como`, `como-node`, and those of the demo and the benchmark
	cargo build --release --workspace --bins

demo: setup-demo build guests ## Run a node and its users on loopback (PCAP=file or IFACE=eth0 for your own packets)
	@BIN=$(BIN) PCAP='$(PCAP)' IFACE='$(IFACE)' scripts/demo

# Documentation before tests, so that the last lines are the tests' own. Binaries first: end-to-end tests start them.
test: fmt-check lint guests doc ## Check format, lints and docs, then run every test
	cargo build --workspace --bins --tests
ifdef NEXTEST
	cargo test --workspace --doc
	cargo nextest run --workspace --no-fail-fast
else
	cargo test --workspace --no-fail-fast
endif

fmt: ## Format the sources
	cargo fmt --all

fmt-check:
	cargo fmt --all --check

lint: setup ## Lints; a warning is an error
	cargo clippy --workspace --all-targets -- -D warnings

doc: setup ## Build the documentation; a warning is an error
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

bench: setup-bench build guests ## Measure against peers and aims (TRACE=file.pcap); the same as JSON in target/bench.json
	@$(BIN)/como-bench $(if $(TRACE),--trace '$(TRACE)')

bench-micro: setup ## Micro benchmarks of the crates
	cargo bench --workspace --benches

schema: ## Compile the Cap'n Proto schemas after a change (Debian package capnproto)
	@capnp/regenerate.sh

regenerate: setup ## Write docs/configuration.md, docs/standard-modules.md and the tables of docs/privacy.md and docs/operating.md anew, after a change of what they say
	cargo run -q -p como-tests --bin como-regenerate configuration
	cargo run -q -p como-tests --bin como-regenerate fields
	cargo run -q -p como-tests --bin como-regenerate metrics
	cargo run -q -p como-tests --bin como-regenerate modules

soak: guests ## Kill, tear and flip for longer than `make test` does (COMO_SOAK=200 rounds each; some ten minutes)
	cargo build --workspace --bins --tests
	COMO_SOAK=$(or $(COMO_SOAK),200) cargo test --workspace -- ring::model_test soak:: stories::import

torture: setup ## Hostile and generated guests under the shipped profile, more of them than `make test` has (COMO_GENERATED_GUESTS=50000)
	COMO_TORTURE=$(or $(COMO_TORTURE),12) COMO_GENERATED_GUESTS=$(or $(COMO_GENERATED_GUESTS),50000) cargo test --release --workspace --test it -- torture:: hostile:: generated::

clean: ## Remove what was built
	cargo clean

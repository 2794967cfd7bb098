# Weir's front door: what to build, test and try. `make` alone lists the targets.
#
# The only thing to bring is Rust; Debian packages that are missing are installed on the way
# (deploy/lab/install.sh), cargo's tools likewise.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo lab lab-down test test-full lint fuzz docs bench build rust packages \
	packages-lab packages-all cargo-deny cargo-fuzz

RUST_MIN := 1.91
PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
export PATH

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export WEIR_BIN ?= $(TARGET)/lab/weir
LAB := /usr/bin/python3 deploy/lab
SECONDS_PER_FUZZ_TARGET ?= 60

help: ## this list
	@echo "Weir: a layer-4 load balancer on DPDK. Targets:"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build packages-lab ## real HTTP through DR, NAT and TUN in namespaces, failures included
	@$(LAB)/demo.py

lab: build packages-lab ## the demo's network left running (NETWORK=one-port for the other)
	@$(LAB)/lab.py up $(or $(filter two-port one-port,$(NETWORK)),two-port)

lab-down: ## removes what `make lab` left running
	@$(LAB)/lab.py down

test: rust packages-all cargo-deny cargo-fuzz ## everything that proves Weir; what .ci/run calls
	@tests/run.sh

test-full: rust packages-all cargo-deny cargo-fuzz ## the same, long fuzzing, VRRP's whole matrix
	@SECONDS_PER_FUZZ_TARGET=1200 tests/run.sh
	@tests/full/vrrp_matrix.py --write tests/results/$$(date +%F)-vrrp-matrix.md

lint: rust packages cargo-deny ## format, clippy, documentation, licences
	@tests/run.sh fmt clippy docs deny

fuzz: rust packages cargo-fuzz ## fuzzes every target (SECONDS_PER_FUZZ_TARGET=60)
	@SECONDS_PER_FUZZ_TARGET=$(SECONDS_PER_FUZZ_TARGET) tests/run.sh fuzz

docs: rust packages ## the code's documentation, warnings are errors
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

bench: rust packages-all ## the benchmarks; QUICK=1 shorter, SOAK=1 longer, SECTIONS=e2e
	@bench/run.sh

build: rust packages
	@cargo build --profile lab --locked

rust:
	@have=$$(rustc --version 2>/dev/null | awk '{print $$2}'); \
	if [ -z "$$have" ]; then \
		echo "Rust $(RUST_MIN) or newer is needed and was not found. It installs with"; \
		echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; \
		exit 1; \
	elif [ "$$(printf '%s\n' $(RUST_MIN) "$$have" | sort -V | head -1)" != $(RUST_MIN) ]; then \
		echo "Rust $(RUST_MIN) or newer is needed, this is $$have. With rustup: rustup update stable"; \
		exit 1; \
	fi

packages:
	@deploy/lab/install.sh build

packages-lab:
	@deploy/lab/install.sh lab

packages-all:
	@deploy/lab/install.sh build lab oracle bench

# Tools of cargo's own. When they cannot be had, their stage is skipped aloud.
cargo-deny cargo-fuzz: rust
	@cargo $(@:cargo-%=%) --version >/dev/null 2>&1 || cargo install --locked $@ \
		|| echo "$@ could not be installed; its stage will be skipped"

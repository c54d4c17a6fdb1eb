# `make help` lists what there is. Swift is looked for on PATH and in /opt/swift.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(PATH):/opt/swift/usr/bin:$(HOME)/.local/share/swiftly/bin

PROGRAM := .build/release/accelerate-swift
COMPUTING_TESTS := ^(Compute|Model|Golden|SelfTest)

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-cluster test-benchmarks test-faults soak fuzz check lint format clean

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Installs what is missing to build; nothing when all is there.
	@scripts/setup.sh

build: setup ## Builds the program.
	swift build -c release --product accelerate-swift

demo: build ## Trains the embedded demo on four processes.
	$(PROGRAM) launch --nproc 4 train

test: setup ## Builds everything and passes all tests.
	@scripts/fetch-nvrtc.sh
	@scripts/fetch-nccl.sh
	swift build -c release --build-tests
	@# Apart from each other: tests that bound the time of hostile input, those that compute in this
	@# process on all cores, and those that run the program and wait for it.
	swift test -c release --skip-build --filter '^DataTests'
	swift test -c release --skip-build --filter '$(COMPUTING_TESTS)'
	swift test -c release --skip-build --skip '^DataTests|$(COMPUTING_TESTS)'
	@echo "OK: all tests passed"

test-cluster: build ## Tests several hosts, emulated on this machine (root only; else skipped).
	@Tests/Cluster/test.sh

test-benchmarks: build ## Tries the benchmarks of a GPU on the CPU and on an emulated GPU, at tiny sizes.
	@scripts/fetch-nvrtc.sh
	@Benchmarks/test.sh

test-faults: build ## Breaks jobs over emulated hosts in many ways and prints what became of each.
	@Tests/Cluster/faults.sh

soak: setup ## Kills a random rank of a hundred runs; all must end with the same bits.
	swift build -c release --build-tests
	ACCELERATE_SOAK_KILLS=100 swift test -c release --skip-build --filter SoakTests

fuzz: setup ## Fuzzes the readers of foreign files; EXECUTIONS=20000 in all.
	Fuzz/fuzz.sh $(or $(EXECUTIONS),20000)

check: setup lint ## Lint and the fast tests, in under three minutes.
	swift build -c release --build-tests
	swift test -c release --skip-build --filter 'SupportTests|TrainerTests|DistributedTests|ArchitectureTests|CommandTests\.'
	@echo "OK: lint and fast tests passed"

lint: ## Checks the format of the sources.
	swift format lint --strict --parallel --recursive Sources Tests Package.swift

format: ## Rewrites the sources in the project's format.
	swift format format --in-place --parallel --recursive Sources Tests Package.swift

clean: ## Deletes what was built.
	rm -rf .build

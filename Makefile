# The targets that a newcomer needs come first; `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.13.0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/braid
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/braid ./cmd/braid

.PHONY: demo
demo: build ## a live move and reshard of real MySQL on this machine, with a report
	bin/braid demo

.PHONY: test
test: build lint ## everything: lint, packages, real MySQL, the whole program under kills (about twenty minutes)
	bin/braid mysql install
	go test -count=1 -timeout 20m -p 2 ./...

TORTURE_MINUTES ?= 20

.PHONY: torture
torture: ## replication between real servers while everything dies (TORTURE_MINUTES, TORTURE_SEED, TORTURE_ONLY)
	go run ./cmd/braid mysql install
	TORTURE_MINUTES=$(TORTURE_MINUTES) go test -count=1 -timeout 0 -v -run '^TestTorture$$' ./test/robustness

.PHONY: test-short
test-short: ## what needs no MySQL (under a minute)
	go test -short -timeout 5m ./...

.PHONY: lint
lint: ## golangci-lint: mistakes, and the layers of docs/architecture.md
	$(GOLANGCI) run --allow-parallel-runners ./...

.PHONY: lint-deep
lint-deep: ## the linters that read the source of every dependency (minutes)
	$(GOLANGCI) run --allow-parallel-runners --timeout 30m --enable-only staticcheck,unused,bodyclose ./...

.PHONY: bench
bench: bench-binlog bench-apply bench-copy ## every benchmark; figures go to bench/out

.PHONY: bench-binlog
bench-binlog: ## reading a binlog, beside go-mysql's own decoding (minutes)
	go test -run '^$$' -bench Binlog -benchtime 1x -timeout 60m ./bench

.PHONY: bench-apply
bench-apply: build ## draining a backlog, beside the native replica; BENCH_FULL=1 is the whole size (a quarter of an hour)
	go test -run '^$$' -bench Apply -benchtime 1x -timeout 90m ./bench

.PHONY: bench-copy
bench-copy: build ## copying tables, beside mysqldump, mydumper and LOAD DATA; BENCH_FULL=1 is the whole size
	go test -run '^$$' -bench Copy -benchtime 1x -timeout 90m ./bench

.PHONY: generate
generate: ## rebuild the gRPC code (needs protoc, protoc-gen-go v1.36.12, protoc-gen-go-grpc v1.6.0)
	protoc --go_out=. --go_opt=module=braid --go-grpc_out=. --go-grpc_opt=module=braid api/*/*.proto

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

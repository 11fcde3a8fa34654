# Two commands on a fresh Debian machine with Go, git, make and root: make demo, make test.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOLANGCI_LINT := v2.15.0
STATICCHECK := v0.8.2
BIN := $(CURDIR)/bin
FUZZTIME ?= 20s
# How many schedules of writes, lag and readings make torture plays against the verifier's judging; some 400,000 take a minute.
SCHEDULES ?= 5000000
# How many elements of 500 KB each key of TestHugeElements has under make torture; make servers has 30.
HUGE_ELEMENTS ?= 100
# How much more often make torture kills migrations than make e2e does.
KILLS ?= 3
# How long make torture moves slots at random, of the source and of the target, among failovers, cuts, standstills and kills.
RESHARD_FOR ?= 5m
# How often make torture sends other odd commands to each pair of servers.
DEGENERATE ?= 20
# How often make torture starts two migrations at one target, for each of three ways, on one server and on a cluster.
CLAIMS ?= 9
# A test binary that hangs must not take the build with it.
TEST := go test -race -timeout 40m
# Tests that run without the race detector, see schedules.
ALONE := '^TestSchedule'

.PHONY: demo build test check lint unit schedules servers browser e2e bench images fuzz torture clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.Version=$(VERSION)" -o surecut ./cmd/surecut

# Two local servers with live traffic, migrated, verified and gated in a minute.
demo:
	scripts/setup.sh redis
	$(MAKE) --no-print-directory build
	./surecut demo

# Everything that a change must pass. The tests that need no server run once, with those that do.
test: lint images servers browser e2e

# What needs no server and no container.
check: lint unit

lint: $(BIN)/golangci-lint-$(GOLANGCI_LINT) $(BIN)/staticcheck-$(STATICCHECK)
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs -r ls 2>/dev/null | xargs -r gofmt -l); \
		if [ -n "$$files" ]; then echo "gofmt -w needed: $$files" >&2; exit 1; fi
	go mod tidy -diff
	go vet -tags servers,browser,e2e,bench ./...
	$(BIN)/staticcheck-$(STATICCHECK) -tags servers,browser,e2e,bench ./...
	$(BIN)/golangci-lint-$(GOLANGCI_LINT) run --timeout 15m

$(BIN)/golangci-lint-$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)
	mv $(BIN)/golangci-lint $@

$(BIN)/staticcheck-$(STATICCHECK):
	GOBIN=$(BIN) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	mv $(BIN)/staticcheck $@

images:
	scripts/images.sh

unit: schedules
	scripts/setup.sh cgo
	$(TEST) -skip $(ALONE) ./...

# Every package, its tests against real servers included. Most of these wait more than they work.
servers: images schedules
	scripts/setup.sh cgo redis twemproxy
	$(TEST) -count=1 -p 4 -parallel 4 -skip $(ALONE) -tags servers ./...

# The schedules of the judging, and of slots that move, do nothing but compute, which takes ten times as long with the race detector on.
schedules:
	go test -count=1 -run $(ALONE) ./verifier ./migrator/internal/slots

# Only what needs one: make servers runs the other tests of the package.
browser:
	scripts/setup.sh cgo chromium
	$(TEST) -count=1 -tags browser -run 'InBrowser$$' ./reports

# The real binary against real servers, in every direction and version. It ends with the matrix: each cell passed, failed or not run.
e2e: images
	scripts/setup.sh twemproxy
	@ledger=$${SURECUT_E2E_LEDGER:-$$(mktemp)}; status=0; \
		SURECUT_E2E_LEDGER=$$ledger go test -count=1 -timeout 40m -parallel 64 -tags e2e ./e2e/... || status=$$?; \
		if [ -z "$${SURECUT_E2E_LEDGER:-}" ]; then sort -u "$$ledger"; rm "$$ledger"; fi; exit $$status

bench:
	scripts/setup.sh redis
	scripts/bench.sh $(PART)

# Every fuzz target of every package, FUZZTIME each.
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# What takes long and seldom finds anything: every fuzz target, millions of schedules for the judging, larger values, migrations that are
# killed again and again, a source whose slots move at random.
torture: fuzz images
	SURECUT_SCHEDULES=$(SCHEDULES) go test -count=1 -timeout 3h -v -run 'TestSchedules$$' ./verifier ./migrator/internal/slots
	SURECUT_HUGE_ELEMENTS=$(HUGE_ELEMENTS) $(TEST) -count=1 -tags servers -run 'TestHugeElements$$' ./verifier
	SURECUT_RESHARD_FOR=$(RESHARD_FOR) go test -count=1 -timeout 3h -v -tags servers -run 'TestSlotsMoveAtRandom$$' ./migrator
	go test -count=$(DEGENERATE) -timeout 3h -v -tags servers -run 'TestDegenerateCommands$$' ./migrator
	scripts/setup.sh twemproxy
	SURECUT_CLAIMS=$(CLAIMS) go test -count=1 -timeout 3h -v -tags e2e -run 'TestNeverTwoWriters$$' ./e2e
	SURECUT_KILLS=$(KILLS) go test -count=1 -timeout 3h -v -tags e2e -run 'TestKilled|Twemproxy' ./e2e

clean:
	rm -rf $(BIN) surecut out demo-out

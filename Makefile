# .ci/run is what decides; these are its parts, for while one works.
include .ci/versions

.DEFAULT_GOAL := help
.PHONY: help serve test test-all nightly e2e times bench lint fmt deps ci

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '%-10s %s\n' "$$name" "$$what"; done

serve: ## run the demo chat at http://127.0.0.1:4000
	go run ./cmd/chime serve

test: ## what runs with Go alone; the rest is skipped
	go test ./...

test-all: deps ## everything, with the race detector; a missing program fails
	cd internal/mount/apps && go test -race ./...
	cd cmd/chime/deployed && go test ./...
	CHIME_TEST_ALL=1 go test -race ./...

nightly: ## the long forms: 50 kills, a restart under 1,000 clients, the wide model, chaos, an attack, a minute of each fuzz target
	CHIME_KILLS=50 go test -count=1 -timeout 1h -run '^TestKilled' ./store/boltstore ./cmd/chime
	CHIME_MODEL=wide go test -count=1 -timeout 10m -run '^TestARestart' ./cmd/chime
	CHIME_MODEL=wide go test -count=1 -timeout 2h ./docs/model
	CHIME_CHAOS=3m go test -count=1 -timeout 1h ./internal/chaos
	CHIME_CHAOS=3m go test -race -count=1 -timeout 1h ./internal/chaos
	CHIME_ATTACK=20s go test -count=1 -v -run '^TestAnAttack' ./internal/hostile
	@for package in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for target in $$(go test -list '^Fuzz' ./$$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime 1m -fuzzminimizetime 10x ./$$package || exit 1; \
		done; \
	done

e2e: deps ## browsers, nginx, phoenix.js and curl against the built server; keeps screenshots/
	CHIME_TEST_ALL=1 CHIME_SCREENSHOTS=$(CURDIR)/screenshots go test -count=1 -v ./internal/e2e

times: deps ## how soon the first message is through each network, and eight tabs work: on a machine that does nothing else
	CHIME_TIMES=1 CHIME_TEST_ALL=1 go test -count=1 -v -run 'GetsThroughEachNetwork|EightTabs' ./internal/e2e

bench: ## every benchmark, with allocations
	go test -run '^$$' -bench . -benchmem ./...

lint: ## golangci-lint at the pinned version
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run
	cd internal/mount/apps && go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run --config ../../../.golangci.yml

fmt: ## gofmt
	gofmt -s -w $$(git ls-files '*.go')

deps: ## npm packages for the tests
	@for file in $$(git ls-files 'package.json' '*/package.json'); do \
		if grep -q ependencies $$file; then npm install --prefix $$(dirname $$file) --no-package-lock --no-audit --no-fund --ignore-scripts; fi; \
	done

ci: ## what CI runs
	bash .ci/run

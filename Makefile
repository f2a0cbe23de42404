# Needs Go >= 1.26 and make. `make` builds the static binary; `make check test` is what CI runs.

export GOFLAGS := -buildvcs=false
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS     := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
REVIVE      := github.com/mgechev/revive@v1.15.0
FUZZTIME    ?= 10s
FLOOD       ?= 60s
SEEDS       ?= 1-1000
ERROR       ?= 0
IMAGE       := build/image
PLUGINS     := $(patsubst plugins/%,%,$(wildcard plugins/strategies/*/bkp-strategy-* plugins/verifiers/*/bkp-verifier-* plugins/notifiers/*/bkp-notifier-*)) engines/folder/bkp-engine-folder

.PHONY: all help build test race check fuzz flood faults mutants life exact soak bench s3 engines lab microbench demo random image proto release deb clean c-compiler
all: build

help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '%-11s %s\n' "$$name" "$$what"; done

# bkp compresses with the C library where a C compiler can link statically, and otherwise with one in Go, which takes longer.
STATIC_C = $(shell echo 'int main(void) { return 0; }' | $${CC:-cc} -static -x c -o /dev/null - 2>/dev/null && echo 1 || echo 0)

build: ## the static binary bkp, and every plugin as a program of its own in build/plugins
	CGO_ENABLED=$(STATIC_C) $(GO) build -trimpath -tags netgo,osusergo -ldflags '$(LDFLAGS) -extldflags -static' -o bkp ./cmd/bkp
	mkdir -p build/plugins
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/plugins/ $(addprefix ./plugins/,$(PLUGINS))

c-compiler:
	@scripts/need cc:gcc,libc6-dev

# What goroutines do to one another is looked for by the race detector, which takes three times as long: not in rooms that
# are PURE and start none, in those beside them of a SINGLE goroutine, nor in the LONGER and LONG tests. -short would leave a fifth of rapid's 100 checks.
# core/chunk is tested both ways: with the C library, which most builds have, and without.
PURE := ./core ./core/key ./core/chunk ./core/manifest ./core/plan/... ./core/account ./core/license ./core/wire ./core/shard \
	./core/audit ./core/measure ./core/invite ./core/task ./core/spread ./core/reconcile ./core/version ./core/shipment ./core/sim \
	./core/place/content ./core/place/delivery ./core/place/survey
SINGLE := ./core/place/proof ./core/gossip ./cmd/bkp/retain ./core/storage/disk/check ./core/storage/disk/collect ./core/storage/disk/damage \
	./core/storage/disk/space ./core/storage/disk/table ./core/storage/disk/writers ./core/storage/holdings \
	./plugins/strategies/... ./plugins/verifiers/... ./plugins/ruby ./scripts/mutants
LONG := ./cmd/bkp ./cmd/bkp/scaffold ./core/durable ./core/file ./core/ledger ./core/placements ./core/storage/... ./scripts/inject
LONGER = $$(awk '/^func Test/ { split($$2, name, "(") } /^\tlong\(t\)/ { printf "%s%s", n++ ? "|" : "", name[1] }' core/commands/*_test.go)
test: c-compiler ## all tests; under the race detector, which needs a C compiler, where goroutines are, but for the longest, losses of power and stories
	RAPID_CHECKS=500 $(GO) test -race -short -skip PowerLoss -timeout 25m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(PURE) $(SINGLE) ./cmd/bkp ./scripts/inject)") ./core/chunk
	CGO_ENABLED=0 $(GO) test -timeout 25m -run "^($(LONGER))$$" ./core/commands & commands=$$!; \
	CGO_ENABLED=0 $(GO) test -timeout 25m $(PURE) $(SINGLE) $(LONG); code=$$?; wait $$commands && exit $$code

race: c-compiler ## all tests under the race detector: a quarter of an hour
	$(GO) test -race -timeout 30m ./...

check: ## formatting, lines, vet, staticcheck, revive, exhaustive switches, the floors and the contract of plugins; without the C library, which takes long to compile
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "gofmt -w these:"; echo "$$bad"; exit 1; fi
	@scripts/long-lines
	@bad=$$(git ls-files '*.go' | grep -v '\.pb\.go$$' | xargs grep -L '^// SPDX-License-Identifier: Apache-2.0$$' || true); if [ -n "$$bad" ]; then echo "these lack the SPDX line:"; echo "$$bad"; exit 1; fi
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) run $(STATICCHECK) ./...
	CGO_ENABLED=0 $(GO) run $(REVIVE) -config .revive.toml -exclude plugins/proto/... ./...
	CGO_ENABLED=0 $(GO) build -C scripts/exhaustive -o ../../build/tools/exhaustive .
	CGO_ENABLED=0 build/tools/exhaustive -default-signifies-exhaustive -test=false ./...
	CGO_ENABLED=0 $(GO) test -count=1 -run Floors ./core ./plugins/proto

fuzz: ## every fuzz target for FUZZTIME; twice if need be, since Go may take the end of the time for a failure, and a real one fails again on the input that it left
	@set -e; grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/func //'); do \
			echo "$$dir $$target"; try="$(GO) test -run ^$$ -fuzz ^$$target\$$ -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$dir"; $$try || $$try; \
		done; done

flood: ## a node under idle sockets and floods of messages: FLOOD=60s for each kind
	CGO_ENABLED=0 BKP_FLOOD=$(FLOOD) $(GO) test -count=1 -timeout 60m -run '^TestFlood$$' -v ./cmd/bkp

faults: build ## power loss in 10^5 states, kills at random moments, and each durable call failed or killed at: an hour or two
	scripts/faults

mutants: ## take out each sync, one at a time: a power-loss test must miss it; half an hour
	CGO_ENABLED=0 $(GO) run ./scripts/mutants

exact: ## what is decided about copies, in clusters on one queue of events drawn by SEEDS: 10 a second
	CGO_ENABLED=0 BKP_EXACT=$(SEEDS) $(GO) test -count=1 -timeout 12h -run TestExact -v ./core/repair

life: ## clusters drawn by SEEDS and what befalls them, against what bkp promises; most of a minute a seed
	CGO_ENABLED=0 BKP_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 5h -run TestSeeds ./core/commands

soak: build ## the peak memory of split, fetch and verify at 1, 8 and 64 GiB
	scripts/soak

bench: c-compiler build ## beside cp, restic, borg and casync: half an hour, 30 GB; table and plot in build/bench
	scripts/bench

s3: build ## the tests of buckets on a real server; BENCH=1: beside restic on one file of 1 GiB
	scripts/s3 $(if $(BENCH),bench)

# Engines that are modules of their own, so that bkp needs none of what they need.
ENGINES = $(patsubst %/go.mod,%,$(wildcard plugins/engines/*/go.mod))
engines: ## the engines that are modules of their own, in build/plugins, and their tests, which start real clusters: minutes
	mkdir -p build/plugins
	@set -e; for dir in $(ENGINES); do echo "$$dir"; \
		(cd $$dir && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o ../../../build/plugins/ ./bkp-* && \
		$(GO) mod tidy -diff && CGO_ENABLED=0 $(GO) vet ./... && CGO_ENABLED=0 $(GO) test -count=1 -timeout 15m ./...); done

lab: build ## place and fetch over shaped links between network namespaces, against the least possible time; root, 25 minutes
	scripts/lab

microbench: ## every benchmark of a package
	$(GO) test -run '^$$' -bench . -benchmem ./...

random: ## bkp sim on random networks against their exact least times: SEEDS=1-1000, 10 minutes; ERROR=0.3, LOSE=1
	@scripts/need python3:python3
	CGO_ENABLED=0 $(GO) build -o build/tools/bkp ./cmd/bkp
	python3 scripts/random $(SEEDS) --error $(ERROR) $(if $(LOSE),--lose)

demo: build ## split, place over five nodes, lose one, fetch: a tour that takes a few minutes
	scripts/demo

image: build ## all that the image is made of, its Dockerfile too: docker build build/image
	rm -rf $(IMAGE)
	mkdir -p $(IMAGE)/plugins $(IMAGE)/data $(IMAGE)/tmp
	cp bkp $(IMAGE)/bkp
	cp build/plugins/* $(IMAGE)/plugins/
	cp "$$($(GO) env GOROOT)/lib/time/zoneinfo.zip" $(IMAGE)/zoneinfo.zip
	sed -n '/^FROM scratch/,$$ { s|--from=build ||; s|/src/build/image/||; p }' Dockerfile > $(IMAGE)/Dockerfile

proto: ## the generated code of plugins/proto, plugins/python and plugins/ruby; needs protoc (Debian: protobuf-compiler)
	@command -v protoc >/dev/null || { echo "install protoc first (Debian: apt-get install protobuf-compiler)"; exit 1; }
	GOBIN=$(CURDIR)/build/tools $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	GOBIN=$(CURDIR)/build/tools $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
	cd plugins/proto && PATH=$(CURDIR)/build/tools:$$PATH protoc \
		--go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative *.proto
	cd plugins/proto && protoc --python_out=../python/bkp_plugin *.proto
	sed -i -E 's/^import ([a-z]+_pb2) as/from . import \1 as/' plugins/python/bkp_plugin/*_pb2.py # protoc takes them for top-level modules
	$(GO) test ./plugins/ruby -update

release: ## binaries, Debian packages and checksums in build/release: minutes; TARGETS="linux/amd64 …"
	scripts/release $(TARGETS)

deb: ## the Debian package for this machine, in build/release
	scripts/release linux/$$($(GO) env GOHOSTARCH)

clean: ## take away what was built
	rm -rf bkp build demo-data

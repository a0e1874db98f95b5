# make demo     installs what is missing, builds, and shows every mode with real traffic
# make test     installs what is missing and runs every test
# make verify   the gate: format, lints, documentation, dependencies, tidy rules, fuzz targets; edits nothing
# make setup    installs what is missing, for the tests as well
# make fix      formats and applies what clippy can
# make ebpf     compiles the XDP programs anew, after a change in dataplane-node/ebpf or dataplane-node/abi
# make bench-l4 what a packet costs in the XDP programs, against Katran's figures; BENCH="--rounds 31" and other options
# make bench-agent  how long the node agent takes to write the maps, 10,000 services among them; BENCH as above
# make bench-failover for how long VIPs are not served when something happens to nodes, beside keepalived and bird; BENCH as above
# make bench-l7 the layer-7 engine against HAProxy and nginx, requests for each second of a core; BENCH as above
# make fuzz-packets generated frames for ten minutes, each compared with a reference; SECONDS=60 and SEED=7 for others
# make fuzz-l7  the layer-7 engine's parsers, each for ten minutes; SECONDS_EACH=60, TARGETS="http1 path" and JOBS=1 for others
# make fuzz-control  the same for what users, controllers and disks give
# make fuzz-routing  the same for what routers say, in BGP and BFD
# make check-leases  the rules of leases in many more worlds than make test looks at
# make lab      the lab with faults; LAB="--keep" and other options of `lbfabric lab`

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
export CARGO_TARGET_DIR ?= $(CURDIR)/target
CARGO ?= cargo
BINARIES := -p lbfabric -p lbfabric-controller -p lbfabric-node
PACKAGES := -p lbfabric -p lbfabric-abi -p lbfabric-bgp -p lbfabric-chaos -p lbfabric-controller \
            -p lbfabric-lease -p lbfabric-model -p lbfabric-node -p lbfabric-proto -p lbfabric-proxy -p lbfabric-routing
# Namespaces and XDP need root; cargo itself does not.
ifneq ($(shell id -u),0)
SUDO := sudo -E env PATH=$(PATH)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := $(SUDO)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := $(SUDO)
endif

.PHONY: help setup demo lab build test verify advisories fix ebpf bench-l4 bench-agent bench-failover bench-l7 \
        fuzz-packets fuzz-l7 fuzz-control fuzz-routing check-leases

help:
	@sed -n 's/^# make /  make /p' Makefile

setup:
	@deploy/setup.sh test

build:
	@deploy/setup.sh
	$(CARGO) build --locked --release --bins $(BINARIES)

demo: build
	$(SUDO) $(CARGO_TARGET_DIR)/release/lbfabric lab

lab: build
	$(SUDO) $(CARGO_TARGET_DIR)/release/lbfabric lab --faults $(LAB)

# The daemons are built first: tests of the command line start them.
test: setup
	$(CARGO) build --locked --bins $(BINARIES)
	$(CARGO) test --locked --no-fail-fast $(PACKAGES)

verify:
	@deploy/setup.sh verify
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked $(PACKAGES) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps $(PACKAGES)
	$(CARGO) deny --all-features check bans licenses sources
	$(CARGO) test --locked -p lbfabric-chaos --test tidy
	$(CARGO) check --quiet --manifest-path controller/model/fuzz/Cargo.toml
	$(CARGO) check --quiet --manifest-path cli/fuzz/Cargo.toml
	$(CARGO) check --quiet --manifest-path dataplane-node/bgp/fuzz/Cargo.toml
	$(CARGO) check --quiet --manifest-path dataplane-node/proxy/fuzz/Cargo.toml

# Needs the advisory database, which is fetched from the Internet.
advisories:
	@deploy/setup.sh verify
	$(CARGO) deny --all-features check advisories

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --locked $(PACKAGES) --all-targets --fix --allow-dirty --allow-staged

ebpf:
	@deploy/setup.sh ebpf
	dataplane-node/ebpf/build.sh

# On a machine with nothing else to do, it says what the machine can; beside other work, ratios and the exit code still hold.
bench-l4:
	@deploy/setup.sh ebpf
	dataplane-node/ebpf/build.sh --bench $(CARGO_TARGET_DIR)/bench
	$(CARGO) bench --locked -p lbfabric-node --bench l4 -- \
		--object $(CARGO_TARGET_DIR)/bench/bench.bpf.o --out $(CARGO_TARGET_DIR)/bench $(BENCH)

bench-agent: setup
	$(CARGO) bench --locked -p lbfabric-node --bench agent -- --out $(CARGO_TARGET_DIR)/bench $(BENCH)

# All in namespaces that it makes. It takes about 20 minutes; BENCH="--only lbfabric --rounds 3" for less.
bench-failover:
	@deploy/setup.sh bench
	$(CARGO) build --release --locked -p lbfabric -p lbfabric-controller -p lbfabric-node
	$(CARGO) bench --locked -p lbfabric-chaos --bench failover -- \
		--programs $(CARGO_TARGET_DIR)/release --out $(CARGO_TARGET_DIR)/bench $(BENCH)

# Proxies on core 1, clients and their server on core 0; BENCH="--core 3 --client-core 2" for others.
bench-l7:
	@deploy/setup.sh bench
	$(CARGO) bench --locked -p lbfabric-proxy --bench l7 -- --out $(CARGO_TARGET_DIR)/bench $(BENCH)

fuzz-packets: setup
	FUZZ_SECONDS=$(or $(SECONDS),601) FUZZ_SEED=$(or $(SEED),1) \
		$(CARGO) test --locked -p lbfabric-node --test xdp programs_and_reference_agree -- --nocapture

fuzz-l7:
	@deploy/setup.sh fuzz
	TARGETS="$(TARGETS)" SECONDS_EACH="$(SECONDS_EACH)" JOBS="$(JOBS)" CARGO="$(CARGO)" \
		deploy/fuzz.sh dataplane-node/proxy/fuzz

fuzz-control:
	@deploy/setup.sh fuzz
	TARGETS="$(TARGETS)" SECONDS_EACH="$(SECONDS_EACH)" JOBS="$(JOBS)" CARGO="$(CARGO)" \
		deploy/fuzz.sh controller/model/fuzz cli/fuzz

fuzz-routing:
	@deploy/setup.sh fuzz
	TARGETS="$(TARGETS)" SECONDS_EACH="$(SECONDS_EACH)" JOBS="$(JOBS)" CARGO="$(CARGO)" \
		deploy/fuzz.sh dataplane-node/bgp/fuzz

# One after the other, as the worlds of each fill gigabytes.
check-leases: setup
	$(CARGO) test --locked --release -p lbfabric-model lease::checker -- --nocapture --test-threads=1

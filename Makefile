# What a contributor runs; `.ci/run` runs the same.

.PHONY: build release test test-clients test-examples lint docs setup chaos other-redis bench bench-check
.DEFAULT_GOAL := build

build: ## The daemon for everyday work, in the profile of the tests
	cargo build --locked

# What `sidestream version` says of its build.
release dist bench: export SIDESTREAM_COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null)

release: ## The daemon as it is installed, shipped and measured
	cargo build --release --locked

test: setup test-clients ## Everything: the client libraries, units, and the real daemon among real servers, clients and a browser
	node --test tests/node/examples/readmes.test.mjs
	cargo test --locked --doc
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked; \
	else set -x; cargo test --locked --lib --bins --tests; fi

test-clients: setup ## The client libraries by their own runners: Node, Chromium, Firefox, WebKit, Python, PHP
	tests/clients.sh

test-examples: ## Every example by its own command, its page in Chromium (installs their packages: minutes the first time)
	tests/examples.sh

lint: ## Format, clippy and documentation, without a warning
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

MDBOOK = 0.5.4
docs: .cache/mdbook-$(MDBOOK)/bin/mdbook ## The pages as a site with search, in target/site; every link is checked
	docs/site/build.py $<

.cache/mdbook-$(MDBOOK)/bin/mdbook:
	cargo install mdbook --version $(MDBOOK) --locked --no-default-features --features search --root .cache/mdbook-$(MDBOOK)

setup: ## What the tests need beside Rust
	@tests/setup.sh

FAULTS ?= 100
chaos: ## Random faults against several instances and a real Redis, for long (FAULTS=100; SIDESTREAM_CHAOS_SEED repeats a run)
	SIDESTREAM_CHAOS_FAULTS=$(FAULTS) cargo test --locked --test it chaos -- --nocapture --test-threads 1

other-redis: setup ## The tests of Redis against Redis 6.2 and Valkey
	tests/other_redis.sh

BENCH ?= run
bench: release ## sidestream and its peers side by side; the result goes to bench/results/ (BENCH="run --only steady" for one row)
	@bench/setup.sh
	cargo build --release --locked -p sidestream-bench
	target/release/sidestream-bench $(BENCH)

bench-check: ## The benchmark's own format, lints and tests, which `lint` and `test` leave out
	cargo fmt -p sidestream-bench --check
	cargo clippy --locked -p sidestream-bench --all-targets -- -D warnings
	cargo test --locked -p sidestream-bench

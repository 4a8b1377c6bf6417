# What a contributor runs; `.ci/run` runs the same.

.PHONY: build release test test-otel test-clients test-examples lint docs dist dist-test setup chaos models deploys crowd other-redis bench bench-check
.DEFAULT_GOAL := build

build: ## The daemon for everyday work, in the profile of the tests
	cargo build --locked

# What `sidestream version` says of its build.
release dist bench: export SIDESTREAM_COMMIT = $(shell git rev-parse --short=12 HEAD 2>/dev/null)

release: ## The daemon as it is installed, shipped and measured
	cargo build --release --locked

test: setup test-clients test-otel ## Everything: the client libraries, units, and the real daemon among real servers, clients and a browser
	node --test tests/node/examples/readmes.test.mjs
	cargo test --locked --doc
	@if cargo nextest --version >/dev/null 2>&1; \
	then set -x; cargo nextest run --locked; \
	else set -x; cargo test --locked --lib --bins --tests; fi

test-otel: ## The feature `otel`, which everyday builds leave out: lints, units, and spans at a scripted collector
	cargo clippy --locked --features otel --all-targets -- -D warnings
	cargo test --locked --features otel --lib --test it -- spans:: otel::

test-clients: setup ## The client libraries by their own runners: Node, Chromium, Firefox, WebKit, Python, PHP
	tests/clients.sh

test-examples: ## Every example by its own command, its page in Chromium (installs their packages: minutes the first time)
	tests/examples.sh

.PHONY: test-deploy deploy-manifests
HELM = v3.22.0
KUBERNETES = .cache/kubernetes/bin/python3
helm = .cache/helm-$(HELM)/helm
test-deploy: build $(helm) $(KUBERNETES) ## The Helm chart, the manifests and the Compose file, by Helm and the schemas of Kubernetes (builds Helm: minutes the first time)
	$(KUBERNETES) tests/deploy/check.py $(helm) target/debug/sidestream

deploy-manifests: build $(helm) $(KUBERNETES) ## deploy/kubernetes anew, from the chart
	$(KUBERNETES) tests/deploy/check.py $(helm) target/debug/sidestream --write

$(helm):
	GOBIN=$(abspath $(@D)) go install -trimpath -ldflags='-s -w' helm.sh/helm/v3/cmd/helm@$(HELM)

$(KUBERNETES): tests/deploy/requirements.txt
	python3 -m venv .cache/kubernetes
	.cache/kubernetes/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

lint: ## Format, clippy and documentation, without a warning
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

MDBOOK = 0.5.4
docs: .cache/mdbook-$(MDBOOK)/bin/mdbook ## The pages as a site with search, in target/site; every link is checked
	docs/site/build.py $<

.cache/mdbook-$(MDBOOK)/bin/mdbook:
	cargo install mdbook --version $(MDBOOK) --locked --no-default-features --features search --root .cache/mdbook-$(MDBOOK)

# What packs a release; each is kept in .cache by its version.
ZIG = 0.15.2
ZIGBUILD = 0.24.1
CARGO_DEB = 3.8.0
CARGO_CYCLONEDX = 0.5.9
# They run for seconds: a quick build of them saves more than a fast program.
quickly = CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off
packers = .cache/zigbuild-$(ZIGBUILD)-$(ZIG)/bin/cargo-zigbuild .cache/cargo-deb-$(CARGO_DEB)/bin/cargo-deb \
  .cache/cargo-cyclonedx-$(CARGO_CYCLONEDX)/bin/cargo-cyclonedx

dist: $(packers) ## What a release has: tarballs, .deb, npm packages, wheels, SBOM and checksums, in dist/ (PLATFORMS=linux-x64 for one)
	PATH="$(subst $() ,:,$(abspath $(dir $(packers)))):$$PATH" packaging/dist.py $(PLATFORMS)

dist-test: ## What `make dist` has made, installed and run: in a Debian root under systemd, by npm, pip and pipx, arm64 in an emulator
	packaging/tests/setup.sh
	cd packaging/tests && python3 -m unittest -v

.cache/zigbuild-$(ZIGBUILD)-$(ZIG)/bin/cargo-zigbuild:
	python3 -m venv .cache/zigbuild-$(ZIGBUILD)-$(ZIG)
	$(@D)/pip install --quiet --disable-pip-version-check cargo-zigbuild==$(ZIGBUILD) ziglang==$(ZIG)

.cache/cargo-deb-$(CARGO_DEB)/bin/cargo-deb:
	$(quickly) cargo install cargo-deb --version $(CARGO_DEB) --locked --root .cache/cargo-deb-$(CARGO_DEB)

.cache/cargo-cyclonedx-$(CARGO_CYCLONEDX)/bin/cargo-cyclonedx:
	$(quickly) cargo install cargo-cyclonedx --version $(CARGO_CYCLONEDX) --locked --root .cache/cargo-cyclonedx-$(CARGO_CYCLONEDX)

setup: ## What the tests need beside Rust
	@tests/setup.sh

FAULTS ?= 100
chaos: ## Random faults against several instances and a real Redis, for long (FAULTS=100; SIDESTREAM_CHAOS_SEED repeats a run)
	SIDESTREAM_CHAOS_FAULTS=$(FAULTS) cargo test --locked --test it chaos -- --nocapture --test-threads 1

SEEDS ?= 100
models: ## Taking back, ends of topics and snapshots by so many seeded schedules of each kind, against a plain model (SEEDS=100; SIDESTREAM_MODEL_SEED repeats one)
	SIDESTREAM_MODEL_SEEDS=$(SEEDS) cargo test --locked --test it topic_model:: -- --nocapture

DEPLOY_STREAMS ?= 5000
deploys: setup ## Reloads and a restart under load: that many streams, pages, uploads, WebSockets and Chromium (DEPLOY_STREAMS=5000)
	SIDESTREAM_DEPLOY_STREAMS=$(DEPLOY_STREAMS) cargo test --locked --test it deploys:: -- --nocapture

CROWD ?= 10000
crowd: setup ## One stream of an application for so many clients, through restarts: Express, Django, sse-starlette (CROWD=10000)
	SIDESTREAM_CROWD=$(CROWD) cargo test --locked --test it real_streams:: -- --nocapture --test-threads 1

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

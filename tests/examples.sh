#!/usr/bin/env bash
# Runs every example by its own command against the daemon of these sources, or the one that SIDESTREAM_BIN names,
# and drives its page in Chromium. Installs what is missing. Arguments go to Node's test runner: a file, a name.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/setup.sh

[ -n "${SIDESTREAM_BIN:-}" ] || cargo build --locked --bin sidestream
export SIDESTREAM_BIN="${SIDESTREAM_BIN:-$PWD/target/debug/sidestream}"

[ $# -gt 0 ] || set -- tests/node/examples/*.test.mjs
exec node --test --test-concurrency=2 --test-timeout=600000 "$@"

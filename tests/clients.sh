#!/usr/bin/env bash
# Tests the packages of clients/ against the daemon, each by its ecosystem's own runner: those named, or all of them
# (`tests/clients.sh php python`). SIDESTREAM_BIN names a daemon; without it, the one of `cargo build` is built and taken.
# What they need is installed by setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${SIDESTREAM_BIN:-}" ]; then
  cargo build --locked --bin sidestream
  export SIDESTREAM_BIN=$PWD/target/debug/sidestream
fi

test_js() { npm test --prefix clients/js; }

test_js_server() { npm test --prefix clients/js-server --silent; }

test_python() (
  python=$PWD/.cache/python/bin
  cd clients/python
  "$python/mypy"
  "$python/python3" -m unittest
)

test_php() (
  cd clients/php
  phpunit
)

[ $# -gt 0 ] || set -- js-server python php js
for client in "$@"; do
  [ -d "clients/$client" ] || { echo "there is no clients/$client" >&2; exit 1; }
  echo "== clients/$client"
  began=$SECONDS
  "test_${client//-/_}"
  echo "== clients/$client: $((SECONDS - began)) s"
done

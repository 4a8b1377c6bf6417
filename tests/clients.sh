#!/usr/bin/env bash
# Tests the packages of clients/ against the daemon that `cargo build` made, or the one that SIDESTREAM_BIN names.
set -euo pipefail
cd "$(dirname "$0")/.."

export SIDESTREAM_BIN="${SIDESTREAM_BIN:-$PWD/target/debug/sidestream}"
[ -x "$SIDESTREAM_BIN" ] || cargo build --locked --bin sidestream

cd clients/js
now=$(cat package.json package-lock.json | cksum)
if [ "$(cat node_modules/.installed 2>/dev/null)" != "$now" ]; then
  npm ci --no-audit --no-fund --loglevel=error >/dev/null
  printf '%s\n' "$now" >node_modules/.installed
fi
npm test

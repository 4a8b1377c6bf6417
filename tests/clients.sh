#!/usr/bin/env bash
# Tests the packages of clients/ against the daemon that `cargo build` made, or the one that SIDESTREAM_BIN names, in Node
# and in three browsers. Installs what is missing, as setup.sh does.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
[ -n "${SIDESTREAM_CHROMIUM:-}" ] || [ -e /usr/bin/chromium ] || missing+=(chromium)
[ -n "${SIDESTREAM_FIREFOX:-}" ] || [ -e /usr/bin/firefox-esr ] || missing+=(firefox-esr)
[ -e /usr/bin/WebKitWebDriver ] || missing+=(webkit2gtk-driver)
[ -e /usr/bin/Xvfb ] || missing+=(xvfb)
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" >/dev/null
fi

export SIDESTREAM_BIN="${SIDESTREAM_BIN:-$PWD/target/debug/sidestream}"
[ -x "$SIDESTREAM_BIN" ] || cargo build --locked --bin sidestream

cd clients/js
now=$(cat package.json package-lock.json | cksum)
if [ "$(cat node_modules/.installed 2>/dev/null)" != "$now" ]; then
  npm ci --no-audit --no-fund --loglevel=error >/dev/null
  printf '%s\n' "$now" >node_modules/.installed
fi
npm test

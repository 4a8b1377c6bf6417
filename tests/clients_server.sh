#!/usr/bin/env bash
# The publishers' own tests, each by its ecosystem's runner, against the daemon at SIDESTREAM_BIN (default: the debug build).
set -euo pipefail
cd "$(dirname "$0")/.."

export SIDESTREAM_BIN=${SIDESTREAM_BIN:-$PWD/target/debug/sidestream}
[ -x "$SIDESTREAM_BIN" ] || { echo "$SIDESTREAM_BIN is not there: cargo build --locked" >&2; exit 1; }

# PHP's runner comes from Debian; everything else from `make setup`, npm and PyPI.
if ! { command -v phpunit && php -r 'exit(extension_loaded("curl") ? 0 : 1);'; } >/dev/null 2>&1; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 php-cli php-curl phpunit >/dev/null
fi

# Runs a command unless it ran well before and these files have not changed since.
unless_done() {
  local stamp=$1 inputs=$2 now
  shift 2
  # shellcheck disable=SC2086
  now=$(cat $inputs | cksum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
  "$@"
  printf '%s\n' "$now" >"$stamp"
}

echo "== clients/js-server"
js=clients/js-server
unless_done $js/node_modules/.installed "$js/package.json $js/package-lock.json" \
  npm ci --prefix $js --ignore-scripts --no-audit --no-fund --loglevel=error
npm test --prefix $js --silent

echo "== clients/python"
python=clients/python
check_types() {
  python3 -m venv .cache/mypy
  .cache/mypy/bin/pip install --quiet --disable-pip-version-check 'mypy>=1.11,<3'
  (cd $python && ../../.cache/mypy/bin/mypy)
}
mkdir -p .cache
unless_done .cache/mypy/.checked "$python/pyproject.toml $python/src/sidestream/*.py $python/tests/typing_promises.py" check_types
(cd $python && python3 -m unittest)

echo "== clients/php"
(cd clients/php && phpunit)

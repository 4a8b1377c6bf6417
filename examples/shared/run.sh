# Sourced by the `run` of each example. Addresses other than the usual ones: PORT for the app, SIDESTREAM_PUBLIC_LISTEN
# and SIDESTREAM_INTERNAL_LISTEN for sidestream. `./run install` installs what the example needs, and starts nothing.
set -euo pipefail

export PORT=${PORT:-3000}
only_install=$([ "${1:-}" = install ] && echo yes || true)

say() { printf '%s\n' "$*" >&2; }

# Runs a command unless it ran well before and its inputs have not changed since.
unless_done() {
  local stamp=$1 inputs=$2 now
  shift 2
  # shellcheck disable=SC2086
  now=$(cat $inputs | cksum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
  "$@"
  printf '%s\n' "$now" >"$stamp"
}

# Packages of npm. Before them those of clients/ that they are linked to, built from their sources.
npm_packages() {
  local client
  for client in $(sed -n 's|.*"file:\(\.\./.*/clients/[a-z-]*\)".*|\1|p' package.json); do
    unless_done "$client/node_modules/.installed" "$client/package.json $client/package-lock.json" npm_ci "$client"
    unless_done "$client/node_modules/.built" "$client/src/*" npm run build --prefix "$client" --silent
  done
  unless_done node_modules/.installed "package.json package-lock.json" npm_ci . --ignore-scripts
}

npm_ci() {
  npm ci --prefix "$@" --no-audit --no-fund --loglevel=error >/dev/null
}

# Packages of PyPI, in an environment of this folder's own.
python_packages() {
  unless_done .venv/.installed requirements.txt install_python
}

install_python() {
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
}

# Commands that have to be there, as `command:package of Debian`.
needs() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || { say "${pair%%:*} is missing: install it first (Debian: ${pair##*:})"; exit 1; }
  done
}

# The daemon: the one that SIDESTREAM_BIN names, an installed one, or that of this repository.
if [ -n "${SIDESTREAM_BIN:-}" ]; then sidestream=("$SIDESTREAM_BIN")
elif command -v sidestream >/dev/null; then sidestream=(sidestream)
else sidestream=(cargo run --quiet --locked --manifest-path "$(dirname "${BASH_SOURCE[0]}")/../../Cargo.toml" --bin sidestream --)
fi

# Starts the app (the command given, on $PORT) as it is, without sidestream.
serve_alone() {
  [ -z "$only_install" ] || exit 0
  say "open http://127.0.0.1:$PORT"
  exec "$@"
}

# Starts the app (the command given, on $PORT) and sidestream in front of it. When one ends, so does the other.
serve() {
  [ -z "$only_install" ] || exit 0
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  trap 'exit 130' INT TERM
  SIDESTREAM_URL="http://${SIDESTREAM_INTERNAL_LISTEN:-127.0.0.1:8081}" SIDESTREAM_KEY=change-me "$@" &
  SIDESTREAM_PUBLIC_BACKEND="http://127.0.0.1:$PORT" "${sidestream[@]}" serve --config sidestream.toml &
  say "open http://${SIDESTREAM_PUBLIC_LISTEN:-127.0.0.1:8080}"
  wait -n
}

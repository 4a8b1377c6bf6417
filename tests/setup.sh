#!/usr/bin/env bash
# Installs what the tests need and is missing: servers, browsers and languages from Debian, clients from npm and PyPI.
# Run again, it finds everything in place and is done in a moment. Needs root (or sudo) only for Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
any() { for name in "$@"; do have "$name" && return; done; return 1; }

# A registry may fail for a moment: three tries, the second and the third after a pause.
patiently() {
  "$@" && return
  for pause in 5 20; do
    say "again in $pause s: $1"
    sleep "$pause"
    "$@" && return
  done
  return 1
}

# What a command needs → the packages that bring it.
missing=()
have redis-server || missing+=(redis-server)
[ -n "${SIDESTREAM_CHROMIUM:-}" ] || any chromium chromium-browser google-chrome || missing+=(chromium)
have node || missing+=(nodejs)
have npm || missing+=(npm)
have curl || missing+=(curl)
have ip || missing+=(iproute2)
have man || missing+=(man-db)
# The proxies of docs/proxies.md, and what `doctor` is to find in front of.
have nginx || missing+=(nginx)
have haproxy || missing+=(haproxy)
have caddy || missing+=(caddy)
have apache2 || missing+=(apache2-bin)
have tinyproxy || missing+=(tinyproxy)
have python3 || missing+=(python3)
# The browsers that clients/js is tested in beside Chromium; WebKit's draws to a display.
[ -n "${SIDESTREAM_FIREFOX:-}" ] || any firefox-esr firefox || missing+=(firefox-esr)
have WebKitWebDriver || missing+=(webkit2gtk-driver)
have Xvfb || missing+=(xvfb)
# The languages in which docs/replacing.md has code, and what clients/php is tested with.
have php || missing+=(php-cli)
php -r 'exit(extension_loaded("curl") ? 0 : 1);' 2>/dev/null || missing+=(php-curl)
have phpunit || missing+=(phpunit)
have ruby || missing+=(ruby)
have go || missing+=(golang-go)
# What examples/sinatra runs on.
have puma || missing+=(puma)
ruby -e 'require "sinatra/base"' 2>/dev/null || missing+=(ruby-sinatra)
ruby -e 'require "active_support"' 2>/dev/null || missing+=(ruby-activesupport)
# Frameworks that publish to Redis by themselves: Rails's Action Cable, Laravel's broadcaster.
ruby -e 'require "redis"; require "active_support/all"; require "action_cable"' 2>/dev/null || missing+=(ruby-actioncable ruby-redis)
php -r 'require "Illuminate/Broadcasting/autoload.php"; require "Illuminate/Redis/autoload.php"; exit(extension_loaded("redis") ? 0 : 1);' >/dev/null 2>&1 ||
  missing+=(php-illuminate-broadcasting php-illuminate-redis php-redis)
# Another time of day for some of several instances.
have faketime || missing+=(faketime)
# The alert rules in deploy/ and the unit in systemd/ are held against their own tools.
have promtool || missing+=(prometheus)
have systemd-analyze || missing+=(systemd)
# A Python that cannot make a virtual environment is one of Debian's without this package.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

install_packages() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || die "missing: $*. Install them (not root here, and no sudo), then run this again."
    as_root=(sudo)
  fi
  # A repository that cannot be reached is no reason to stop while the others have what is needed.
  "${as_root[@]}" apt-get update -qq -o Acquire::Retries=3 || say "apt-get update had errors; going on"
  patiently "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@" >/dev/null || die "apt-get could not install: $*"
}

if [ ${#missing[@]} -gt 0 ]; then
  have apt-get || die "missing: ${missing[*]} (Debian's names). Install them with this system's own package manager."
  say "installing ${missing[*]}"
  install_packages "${missing[@]}"
fi

node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || die "Node $(node --version) is too old: 18 is needed"

# Runs a command unless it ran well before and these files have not changed since.
unless_done() {
  local stamp=$1 inputs=$2
  shift 2
  local now
  # shellcheck disable=SC2086
  now=$(cat $inputs | cksum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
  "$@"
  printf '%s\n' "$now" >"$stamp"
}

install_npm() {
  say "npm packages of $1"
  patiently npm ci --prefix "$1" --prefer-offline --no-audit --no-fund --loglevel=error >/dev/null
}

install_python() {
  say "Python packages"
  rm -rf .cache/python
  python3 -m venv .cache/python
  patiently .cache/python/bin/pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
}

# The package for Node is built by its installation.
for folder in tests/node tests/node/workflow examples/express examples/express-session clients/js clients/js-server; do
  unless_done "$folder/node_modules/.installed" "$folder/package.json $folder/package-lock.json" install_npm "$folder"
done
mkdir -p .cache
unless_done .cache/python/.installed tests/python/requirements.txt install_python
say "all there"

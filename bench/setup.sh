#!/usr/bin/env bash
# Installs the peers that the benchmark compares with, as far as that works: one that is missing becomes a row that
# says so. Needs root (or sudo) only for Debian's packages.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'bench: %s\n' "$*"; }
have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1; }

missing=()
had_nginx=yes
have nginx || { missing+=(nginx); had_nginx=no; }
[ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=(libnginx-mod-nchan)
have redis-server || missing+=(redis-server)
have node || missing+=(nodejs)
have npm || missing+=(npm)

if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  if have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; then
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || say "apt-get update had errors; going on"
    # One at a time: a package that cannot be had keeps no other away.
    for package in "${missing[@]}"; do
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "$package" >/dev/null || say "$package could not be installed"
    done
    # The benchmark starts an nginx of its own; Debian's would only be in the way.
    if [ "$had_nginx" = no ] && [ -d /run/systemd/system ]; then
      "${as_root[@]}" systemctl disable --quiet --now nginx || true
    fi
  else
    say "missing and not installed (no apt-get, or neither root nor sudo): ${missing[*]}"
  fi
fi

if have npm && [ ! -d peers/better-sse/node_modules/better-sse ]; then
  say "npm packages of peers/better-sse"
  npm ci --prefix peers/better-sse --no-audit --no-fund --loglevel=error >/dev/null || say "better-sse could not be installed"
fi

# Peers that are built with Go, into a folder that git ignores. Each is built once for what is written here.
bin=$PWD/peers/bin
centrifugo=v6.9.1

# Builds a peer unless it was built from the same before: its name, what it is made of, the command.
built() {
  local name=$1 from=$2
  shift 2
  [ -x "$bin/$name" ] && [ "$(cat "$bin/.$name" 2>/dev/null)" = "$from" ] && return
  say "building $name, which takes some minutes"
  if "$@" >"$bin/$name.log" 2>&1; then
    printf '%s\n' "$from" >"$bin/.$name"
    rm "$bin/$name.log"
  else
    say "$name could not be built; $bin/$name.log says why"
  fi
}

build_centrifugo() {
  local module=github.com/centrifugal/centrifugo/v6
  GOBIN=$bin go install -trimpath -ldflags="-s -w -X $module/internal/build.Version=${centrifugo#v}" "$module@$centrifugo"
}

build_mercure() {
  (cd peers/mercure && go build -trimpath -ldflags='-s -w' -o "$bin/mercure" .)
}

if have go; then
  mkdir -p "$bin"
  built centrifugo "$centrifugo $(go version)" build_centrifugo
  built mercure "$(cat peers/mercure/go.mod peers/mercure/main.go | cksum) $(go version)" build_mercure
else
  say "there is no Go: Centrifugo and Mercure take no part"
fi
say "peers are there, as far as they can be"

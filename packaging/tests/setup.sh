#!/usr/bin/env bash
# What `make dist-test` needs beside what the tests of the daemon do, from Debian and PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."

have() { command -v "$1" >/dev/null 2>&1; }

missing=()
have debootstrap || missing+=(debootstrap)
have systemd-nspawn || missing+=(systemd-container)
have qemu-aarch64-static || missing+=(qemu-user-static)
# Debian's C library for arm64, where the emulator looks for it.
[ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ] || missing+=(libc6-arm64-cross)
have readelf || missing+=(binutils)
have curl || missing+=(curl)
have npm || missing+=(npm)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "${missing[@]}" >/dev/null
fi

PIPX=1.18.4
if [ ! -x ".cache/pipx-$PIPX/bin/pipx" ]; then
  python3 -m venv ".cache/pipx-$PIPX"
  ".cache/pipx-$PIPX/bin/pip" install --quiet --disable-pip-version-check "pipx==$PIPX"
fi
ln -sfn "pipx-$PIPX" .cache/pipx

# A Debian of nothing but its base and systemd; the tests write on layers above it.
root=.cache/debian-bookworm
if [ ! -e "$root/.made" ]; then
  [ "$(id -u)" -eq 0 ] || { echo "a Debian root is made and booted by root only" >&2; exit 1; }
  rm -rf "$root"
  debootstrap --variant=minbase --include=systemd,systemd-sysv bookworm "$root" >"$root.log" 2>&1 \
    || { tail "$root.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  touch "$root/.made"
fi

#!/usr/bin/env bash
# Assembles the files of the container: the program, the libraries that it is linked with, the authorities that this machine
# trusts, and a folder for the configuration.
#
#   deploy/container/root.sh PROGRAM FOLDER
set -euo pipefail
die() { printf 'root: %s\n' "$*" >&2; exit 1; }
[ $# -eq 2 ] || die "needs a program and a folder"
program=$1 root=$2
[ -x "$program" ] || die "$program is no program"
[ ! -e "$root" ] || die "$root is there already"

mkdir -p "$root/etc/sidestream"
install -m 755 "$program" "$root/sidestream"

# A static program has none. The loader finds them where it finds them here.
if libraries=$(ldd "$program" 2>/dev/null); then
  while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$root$library"
  done < <(awk '{ for (i = 1; i <= NF; i++) if ($i ~ "^/") { print $i; break } }' <<<"$libraries")
fi

# For backends, webhooks and issuers of tokens at https://.
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
  if [ -r "$bundle" ]; then
    install -D -m 644 "$(readlink -f "$bundle")" "$root/etc/ssl/certs/ca-certificates.crt"
    break
  fi
done
[ -e "$root/etc/ssl/certs/ca-certificates.crt" ] || die "this machine trusts no authorities: install ca-certificates"

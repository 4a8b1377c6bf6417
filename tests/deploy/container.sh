#!/usr/bin/env bash
# Does with the container's files what an engine does: mounts and a network of their own, read-only, as its user and
# without any right. Runs its command, waits until its health check is content, and stops it.
#
#   unshare --mount-proc --net --pid --fork --kill-child tests/deploy/container.sh ROOT USER COMMAND HEALTH
set -euo pipefail
root=$1 user=$2 command=$3 health=$4
die() { printf 'container: %s\n' "$*" >&2; exit 1; }

ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
confined() {
  # shellcheck disable=SC2086
  exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" $1
}
healthy() { (confined "$health"); }
state() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$pid/status"; }

! healthy 2>/dev/null || die "it is healthy before it runs"
(confined "$command") &
pid=$!
for ((tries = 0; ; tries++)); do
  healthy 2>/dev/null && break
  [ $tries -lt 100 ] || die "it does not become healthy"
  kill -0 $pid || die "it has ended"
  sleep 0.1
done
[ "$(state Uid):$(state Gid)" = "$user" ] || die "it runs as $(state Uid):$(state Gid)"
[ "$(state CapEff)" = 0000000000000000 ] || die "it has rights: $(state CapEff)"
! touch "$root/written" 2>/dev/null || die "its files can be written to"
# Each listener, from outside of it.
[ "$(curl -sS -o /dev/null -w '%{http_code}' -I http://127.0.0.1:8080/events)" = 200 ] || die "no stream"
[ "$(curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8081/readyz)" = 200 ] || die "not ready"
kill -TERM $pid
wait $pid || die "it ended with $?"
! healthy 2>/dev/null || die "it is healthy after its end"
echo "it was healthy, and stopped"

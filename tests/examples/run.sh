#!/usr/bin/env bash
# Runs an example on gemma3-270m, in a folder of its own; it must succeed and print something: run.sh PROGRAM
set -euo pipefail
model=${XDG_CACHE_HOME:-$HOME/.cache}/fathom/models/gemma3-270m/gemma3-270m.gguf
if [[ ! -e $model ]]; then
  echo "skipped: model gemma3-270m is not here: ./dev model gemma3-270m"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$1" "$model" | tee printed
[[ -s printed ]]

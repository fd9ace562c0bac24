#!/usr/bin/env bash
# Runs an example on the model that it is for, in a folder of its own; it must succeed and print something: run.sh PROGRAM
set -euo pipefail
models=${XDG_CACHE_HOME:-$HOME/.cache}/fathom/models
case $1 in
  *_embed | *_classify) name=minilm-l6 model=$models/minilm-l6 ;;
  *) name=gemma3-270m model=$models/gemma3-270m/gemma3-270m.gguf ;;
esac
if [[ ! -e $model ]]; then
  echo "skipped: model $name is not here: ./dev model $name"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
printf '%s\n' 'a ship at sea' 'water boils' 'a boat on the ocean' | "$1" "$model" | tee printed
[[ -s printed ]]

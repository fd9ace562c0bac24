#!/usr/bin/env bash
# ./dev itself, without building anything: what it lists is there, and what it does not know ends with code 2 and one line.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
failed=0
fail() {
  printf 'FAIL  %s\n' "$*"
  failed=1
}

# refuses WORD ARGUMENT...: exit code 2, nothing on stdout, and a last line that names WORD.
refuses() {
  local word=$1 said code
  shift
  said=$(./dev "$@" 2>&1 >/dev/null)
  code=$?
  [[ $code -eq 2 ]] || fail "./dev $*: code $code, and not 2"
  [[ $(tail -n 1 <<<"$said") == "dev: "*"$word"* ]] || fail "./dev $*: does not name $word: $said"
  [[ -z $(./dev "$@" 2>/dev/null) ]] || fail "./dev $*: writes to stdout"
}

refuses nosuch nosuch
refuses --nosuch test --nosuch
refuses nosuch model nosuch
refuses nosuch bench nosuch
refuses nosuch bench memory nosuch  # before memory is run
refuses ../dev bench ../dev
for command in build demo oracle format lint help; do refuses extra "$command" extra; done

[[ $(./dev model | wc -l) -eq 5 ]] || fail './dev model does not list five models'

# Every bench is reached by a listed name, and no name is empty.
listed=$(./dev bench | tr '\n' ' ')
reached=''
for name in $listed; do
  reached+=$(bash -c 'source cmake/dev/bench.sh && bench_files "$1"' - "$name")$'\n'
done
there=$(git ls-files --cached --others --exclude-standard 'bench/*.sh' 'bench/*.py' ':(glob)bench/*.cc' | grep -v '/_')
missing=$(comm -3 <(sort <<<"${reached%$'\n'}") <(sort <<<"$there"))
[[ -z $missing ]] || fail "./dev bench does not list exactly the files of bench/: $missing"

[[ $failed -ne 0 ]] || printf 'ok    %d benches, every wrong use is refused\n' "$(wc -w <<<"$listed")"
exit "$failed"

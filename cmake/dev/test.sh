# shellcheck shell=bash
# ./dev test: every check of the project, one line each, and a last line that counts them. Next: cmake/dev/bench.sh.

n_passed=0 n_failed=0 n_skipped=0

now() { date +%s%1N; }  # in tenths of a second
report() {
  local took=$(($(now) - step_start))
  printf '%s%-4s%s %5d.%d s  %s\n' "$1" "$2" "$plain" "$((took / 10))" "$((took % 10))" "$3"
}

# step NAME COMMAND...: one check; counts as one.
step() {
  local name=$1 step_start
  step_start=$(now)
  shift
  local log=$logs/${name//[^A-Za-z0-9]/-}.log
  mkdir -p "$logs"
  if ("$@") >"$log" 2>&1; then
    n_passed=$((n_passed + 1))
    report "$green" ok "$name"
  else
    n_failed=$((n_failed + 1))
    report "$red" FAIL "$name (log: ${log#"$root"/})"
    tail -n 40 "$log"
    return 1
  fi
}

skip() {
  n_skipped=$((n_skipped + 1))
  printf 'skip           %s: %s\n' "$1" "$2"
}

# ctest_step NAME PRESET [ctest options]: counts every case; none run is a failure.
ctest_step() {
  local name=$1 preset=$2 step_start
  step_start=$(now)
  shift 2
  local log=$logs/${name// /-}.log xml=$logs/${name// /-}.xml fixed=() complaint=0
  # Address layouts stay put for ThreadSanitizer: g++ 12's cannot read those that newer kernels draw.
  [[ $preset != tsan ]] || ! setarch --addr-no-randomize true || fixed=(setarch --addr-no-randomize)
  "${fixed[@]}" ctest --test-dir "build/$preset" --parallel "$jobs" --output-on-failure --timeout 600 --output-junit "$xml" "$@" \
    >"$log" 2>&1 || complaint=1
  local total failed skipped
  total=$(junit_count tests "$xml") failed=$(junit_count failures "$xml") skipped=$(junit_count skipped "$xml")
  local passed=$((total - failed - skipped))
  if ((passed == 0 || (complaint == 1 && failed == 0))); then
    failed=$((failed + 1))
    tail -n 5 "$log"
    printf 'ctest did not run every case of %s\n' "$name"
  fi
  n_passed=$((n_passed + passed)) n_failed=$((n_failed + failed)) n_skipped=$((n_skipped + skipped))
  if ((failed == 0)); then
    report "$green" ok "$name: $passed cases passed, $skipped skipped"
  else
    report "$red" FAIL "$name: $passed cases passed, $failed failed, $skipped skipped (log: ${log#"$root"/})"
    sed -n '/The following tests FAILED/,$p' "$log"
  fi
}

junit_count() {
  local n
  n=$(grep -o -m 1 "^[[:space:]]*$1=\"[0-9]*\"" "$2" 2>/dev/null | grep -o '[0-9]*')
  echo "${n:-0}"
}

# fuzz_target PROGRAM SECONDS: from the seeds of tests/fuzz/corpus/NAME where there are any.
fuzz_target() {
  local program=$1 seconds=$2 name found
  name=$(basename "$program")
  found=build/fuzz/corpus/$name
  mkdir -p "$found"
  local seeds=()
  [[ ! -d tests/fuzz/corpus/${name%_fuzz} ]] || seeds=("tests/fuzz/corpus/${name%_fuzz}")
  "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$logs/$name-" "$found" "${seeds[@]}"
}

# Programs of the README run on the models that are here.
check_readme() {
  local name path paths=()
  for name in gemma3-270m minilm-l6; do
    path=$(model_path "$name")
    if [[ -e $path ]]; then paths+=("$path"); else paths+=(-); fi
  done
  python3 tests/readme/check_readme.py build/release "${paths[@]}"
}

dev_test() {
  local fuzz_seconds=5 models=(gemma3-270m minilm-l6) name program
  case "$*" in
    '') ;;
    --all) fuzz_seconds=60 models=(gemma3-270m minilm-l6 qwen2.5-coder-0.5b qwen2.5-coder-1.5b) ;;
    *) die 2 "'$*' is not an option of test: only --all is" ;;
  esac
  need_packages build test
  use_ccache
  rm -rf "$logs"

  step 'shell scripts' check_shell || true
  step 'house rules' check_house_rules || true
  step './dev itself' tests/dev/check_dev.sh || true
  step 'labelled sets' python3 tests/dev/labelled_test.py || true
  if has_clang_format_14; then
    step 'formatting' check_format || true
  else
    skip 'formatting' "clang-format 14 is not here (Debian 12's is)"
  fi
  for name in "${models[@]}"; do
    (get_model "$name" >/dev/null) || skip "model $name" "it could not be fetched; the tests that need it report themselves as skipped"
  done
  if step 'release build' configure_and_build release; then
    ctest_step 'release tests' release
    step 'README' check_readme || true
  fi
  if step 'asan build' configure_and_build asan fast_tests; then
    ctest_step 'asan tests' asan --label-exclude 'install|example|compile_fail' --exclude-regex '^test_golden_NOT_BUILT$'
  fi
  if step 'tsan build' configure_and_build tsan test_core test_engine; then
    ctest_step 'tsan tests' tsan --label-regex 'core|engine' --exclude-regex '/(llama|qwen3|qwen2_Q|gemma3_Q4)'
  fi
  if step 'fuzz build' configure_and_build fuzz; then
    for program in build/fuzz/tests/fuzz/*_fuzz; do
      step "fuzz $(basename "$program" _fuzz), $fuzz_seconds s" fuzz_target "$program" "$fuzz_seconds" || true
    done
  fi

  printf '%d passed, %d failed, %d skipped\n' "$n_passed" "$n_failed" "$n_skipped"
  ((n_failed == 0 && n_passed > 0))
}

# shellcheck shell=bash
# ./dev format, ./dev lint, and the house rules that a script can check. The last part of ./dev.

cxx_files() { git ls-files '*.h' '*.cc'; }

dev_format() {
  need_packages style
  cxx_files | xargs clang-format -i --style=file
  say "format: $(git diff --name-only -- '*.h' '*.cc' | wc -l) C++ files differ from the last commit"
}

check_format() { cxx_files | xargs clang-format --style=file --dry-run -Werror; }

# Another version of clang-format writes the same style otherwise.
has_clang_format_14() { [[ $(clang-format --version 2>/dev/null) == *'version 14.'* ]]; }

# clang-tidy counts on stderr what it does not report; the rest of its words stay.
without_counts() { sed -E '/^[0-9]+ (warnings?|errors?)( and [0-9]+ errors?)? generated\.$/d; /^Suppressed [0-9]+ warnings? /d'; }

dev_lint() {
  need_packages build style
  local failed=0
  check_format || failed=1
  quietly "$logs/build.log" cmake --preset release || die 1 "the configuration failed: the errors are above"
  git ls-files 'src/*.cc' 'kernels/ref/*.cc' 'tests/*.cc' 'examples/*.cc' |
    grep -v -e '^tests/fuzz/' -e '^tests/compile_fail/' -e '^tests/install/' -e '^examples/consume/' |
    xargs -P "$jobs" -n 4 clang-tidy --quiet -p build/release 2>&1 | without_counts || failed=1
  check_shell || failed=1
  [[ $failed -eq 0 ]] || die 1 "lint: see above"
  say "lint: nothing found"
}

# The files that ./dev sources are read as its parts.
check_shell() {
  local scripts
  mapfile -t scripts < <(git ls-files '*.sh' ':!cmake/dev')
  shellcheck --external-sources --check-sourced dev .ci/run "${scripts[@]}"
}

# House rules: each prints what breaks it.
check_house_rules() {
  local found
  found=$(git ls-files '*.h' '*.cc' '*.py' '*.sh' dev | xargs wc -l | awk '$2 != "total" && $1 > 400 {print $2 ": " $1 " lines of 400: split it"}')
  if [[ -e include/fathom/engine/layer_loop.h ]]; then
    found+=$(awk 'END {if (NR > 200) print FILENAME ": " NR " lines of 200: split it"}' include/fathom/engine/layer_loop.h)
  fi
  found+=$(grep -rnE '#include <(functional|iostream|regex|ranges)>' include || true)
  found+=$(git grep -nE '\b(std::(cout|cerr|abort|exit|getenv)|printf|fprintf|abort|getenv) ?\(' -- include 'src/*' 'kernels/*' ':!src/cli' || true)
  [[ -z $found ]] || {
    printf '%s\n' "$found"
    return 1
  }
}

# shellcheck shell=bash
# What every command of ./dev needs: places, messages, the release build. Next: cmake/dev/packages.sh.

cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/fathom
logs=$root/build/logs
jobs=${FATHOM_JOBS:-$(nproc)}

if [[ -t 2 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' red='' green='' plain=''
fi

# Progress goes to stderr; stdout carries results only.
say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }
die() {
  local code=$1
  shift
  printf '%sdev: %s%s\n' "$red" "$*" "$plain" >&2
  exit "$code"
}

# quietly LOG COMMAND...: the output goes to a log; its end is shown where the command fails.
quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 && return
  local code=$?
  tail -n 40 "$log" >&2
  printf '%s(the whole log: %s)%s\n' "$red" "$log" "$plain" >&2
  return "$code"
}

# Compilers run through ccache where it is installed; paths in its keys are relative, so that worktrees share results.
use_ccache() {
  command -v ccache >/dev/null || return 0
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
}

# configure_and_build PRESET [TARGET...]: without targets, all of them.
configure_and_build() {
  local preset=$1
  shift
  local targets=()
  [[ $# -eq 0 ]] || targets=(--target "$@")
  cmake --preset "$preset" && cmake --build "build/$preset" --parallel "$jobs" "${targets[@]}"
}

build_release() {
  use_ccache
  say "build: build/release, $jobs jobs (log: build/logs/build.log)"
  quietly "$logs/build.log" configure_and_build release "$@" || die 1 "the build failed: the errors are above"
}

dev_build() {
  need_packages build
  build_release
}

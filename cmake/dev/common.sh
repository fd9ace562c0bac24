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

# is_writable FOLDER: makes it where it is missing.
is_writable() { mkdir -p "$1" 2>/dev/null && [[ -w $1 ]]; }
need_writable() {
  is_writable "$1" || die 1 "$1 cannot be written: set XDG_CACHE_HOME to a folder that can"
}

# Compilers run through ccache where it is installed and has a folder; a build that was configured with it goes on without.
# Paths in its keys are relative, so that worktrees share results.
use_ccache() {
  command -v ccache >/dev/null || return 0
  if ! is_writable "$(ccache --get-config cache_dir)"; then
    export CCACHE_DISABLE=1
    return 0
  fi
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

# follow LOG COMMAND...: on a terminal the log's last line is drawn over itself while the command runs.
follow() {
  local log=$1 watcher
  shift
  if [[ ! -t 2 || ${TERM:-dumb} == dumb ]]; then
    "$@"
    return
  fi
  (while sleep 0.5; do printf '\r    %-76.76s' "$(tail -n 1 "$log" 2>/dev/null)" >&2; done) &
  watcher=$!
  local code=0
  "$@" || code=$?
  kill "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null || true
  printf '\r%80s\r' '' >&2
  return "$code"
}

build_release() {
  use_ccache
  say "build: build/release, $jobs jobs (log: build/logs/build.log)"
  follow "$logs/build.log" quietly "$logs/build.log" configure_and_build release "$@" || die 1 "the build failed: the errors are above"
}

dev_build() {
  need_packages build
  build_release
}

#!/usr/bin/env bash
# Builds examples/consume against this project in one way and runs it: consume.sh WAY SOURCE BUILD
set -euo pipefail
way=$1 source=$2 build=$3
work=$(dirname "$build")/consume-$way  # beside the build, so that a compiler cache sees the same relative paths
prefix=$(dirname "$build")/consume-prefix
rm -rf "$work"
mkdir -p "$work"

build_with_cmake() {
  cmake -S "$1" -B "$work" -G Ninja -DCMAKE_BUILD_TYPE=Release "${@:2}"
  cmake --build "$work" --target consume
}

case $way in
  find_package)
    cmake --install "$build" --prefix "$prefix" >"$work/install.log"
    build_with_cmake "$source/examples/consume" -DCMAKE_PREFIX_PATH="$prefix"
    ;;
  subdirectory)
    build_with_cmake "$source/tests/install/subdirectory" -DFATHOM_FOLDER="$source"
    ;;
  pkg_config)
    cmake --install "$build" --prefix "$prefix" >"$work/install.log"
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name fathom.pc)")
    read -ra flags < <(pkg-config --cflags --libs fathom)
    c++ -std=c++20 -O2 -Wall -Wextra -Werror "$source/examples/consume/main.cc" -o "$work/consume" "${flags[@]}"
    ;;
  *)
    echo "consume.sh: '$way' is not a way: find_package, subdirectory or pkg_config" >&2
    exit 2
    ;;
esac
"$work/consume"

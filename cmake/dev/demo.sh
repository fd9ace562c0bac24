# shellcheck shell=bash
# ./dev demo: one prompt, three policies, side by side on a real model. Next: cmake/dev/test.sh.

demo_model=gemma3-270m
demo_prompt='The lighthouse keeper had not seen a ship for eleven days. On the twelfth morning,'
demo_policies=(
  'full_depth'
  'exit_at(layer=13)'
  'exit_when(confidence_at_least=0.9,from_layer=9,every=3)'
)

dev_demo() {
  local model policy runs=() n=0
  need_packages build
  build_release fathom_cli
  model=$(get_model "$demo_model") || exit $?
  local options=(-m "$model" -p "$demo_prompt" -n 48 --threads "$(nproc)")
  for policy in "${demo_policies[@]}"; do
    printf '\n%s%s%s\n' "$bold" "$policy" "$plain"
    build/release/fathom generate "${options[@]}" --policy "$policy"
  done
  say "measuring the same three again, for the table"
  mkdir -p "$logs"
  for policy in "${demo_policies[@]}"; do
    n=$((n + 1))
    runs+=("$logs/demo-$n.json")
    build/release/fathom generate "${options[@]}" --policy "$policy" --json >"$logs/demo-$n.json" 2>"$logs/demo-$n.log" ||
      die 1 "generate failed: $(tail -n 1 "$logs/demo-$n.log")"
  done
  python3 cmake/dev/compare_policies.py "${runs[@]}"
}

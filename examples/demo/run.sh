#!/usr/bin/env bash
# The demo: eight sites, one table. Usage: examples/demo/run.sh [SEED...]   (test worlds; default: 1)
# Everything lands in build/demo; a row that is there already is not run again. docs/demo.md explains world, rows and settings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=build/demo
seeds=("$@")
[[ ${#seeds[@]} -gt 0 ]] || seeds=(1)
started=$SECONDS

say() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
} >&2

# row NAME SEED WORLD KEY=VALUE...: one run; its JSON is kept as the row's result.
row() {
  local name=$1 seed=$2 world=$3
  shift 3
  local result=$out/results/$name--$seed.json run=$out/runs/$name--$seed
  [[ -f $result ]] && return
  local command=(build/fedalt run examples/demo/demo.yaml "data.train=$PWD/$world/data/train/site_{site}.jsonl"
    "data.test=$PWD/$world/data/test/site_{site}.jsonl" "seed=$seed" "$@" --out "$run" --format json)
  if [[ -f $run/config.yaml ]]; then
    command=(build/fedalt run --resume "$run" --format json)
  else
    rm -rf "$run"
  fi
  say "${command[@]}"
  "${command[@]}" >"$result.part"
  mv "$result.part" "$result"
}

# What every method got on validation worlds (docs/demo.md): 160 optimizer steps per site, its own best rate and cut into rounds.
average=(train.rounds=20 train.steps=8 train.lr=6e-3)
recommended=(method=fedalt preset=recommended train.rounds=20 train.steps=8 train.lr=2e-3)
sum=(method=fedalt preset=recommended_sum train.rounds=39 "train.steps=38x4,8" train.lr=2e-3)

mkdir -p "$out/results"
for seed in "${seeds[@]}"; do
  world=$out/world-$seed control=$out/control-$seed bound=$out/bound-$seed
  [[ -f $world/world.json ]] || { say build/demo_world --out "$world" --seed "$seed"; build/demo_world --out "$world" --seed "$seed"; } >&2
  [[ -f $control/world.json ]] || build/demo_world --out "$control" --seed "$seed" --shuffled-neighbours >&2
  [[ -f $bound/world.json ]] || build/demo_world --out "$bound" --seed "$seed" --all-facts >&2
  row base "$seed" "$world" method=base
  row local "$seed" "$world" method=local train.rounds=20 train.steps=8 adapter.target_modules=all-linear
  row fedit "$seed" "$world" method=fedit adapter.target_modules=all-linear "${average[@]}"
  row fedit_ft "$seed" "$world" method=fedit_ft adapter.target_modules=all-linear "${average[@]}"
  row fedalt-paper "$seed" "$world" method=fedalt preset=paper train.rounds=20 train.steps=8
  row fedalt-recommended "$seed" "$world" "${recommended[@]}"
  row fedalt-recommended-sum "$seed" "$world" "${sum[@]}"
  row pooled "$seed" "$world" method=pooled train.rounds=20 train.steps=8 adapter.target_modules=all-linear
  row control-shuffled-neighbours "$seed" "$control" "${recommended[@]}"
  row bound-all-facts "$seed" "$bound" method=local train.rounds=20 train.steps=8 adapter.target_modules=all-linear
done

# A run that is older than the reports has none.
report=$out/runs/fedalt-recommended--${seeds[0]}/report.html
[[ -f $report ]] || build/fedalt report "${report%/*}" >&2

echo
build/demo_table "$out/results" base local fedit fedit_ft fedalt-paper fedalt-recommended \
  fedalt-recommended-sum pooled control-shuffled-neighbours bound-all-facts
cat <<END

Guessing scores 15.3 % on unseen facts, if the convention is right.
  base                 the model as it came: it does not know which convention a site wants
  local                each site alone: it keeps its convention, and never hears of what the others know
  fedit                one averaged model: the conventions that conflict destroy each other
  fedit_ft             the same, but the last round stays at the site: strong and free
  fedalt-paper         as published (q and v only): keeps its convention, and gains nothing on facts that the site never saw
  fedalt-recommended   no mixer, a site reads the sum of those who are like it: facts of the others in the site's own words
  ...-recommended-sum  one shared frozen A, the plain sum of all others: for a server that may see only sums; twice the exchanges
  pooled               one model on everybody's data, privacy aside: it cannot tell whose convention is wanted
  control              fedalt-recommended where the neighbours know something unrelated: the gain must vanish, and does if unseen is near chance
  bound                local where each site is given all 72 facts in its own words: what perfect sharing could reach
Runs: $PWD/$out/runs   (fedalt generate, fedalt eval and metrics.jsonl show one site)   $((SECONDS - started)) s
Report: $PWD/$report   (of fedalt-recommended; each run has one)
END

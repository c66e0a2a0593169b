#!/usr/bin/env bash
# The options of fedalt, one changed at a time, in the demo's world (docs/results.md): of preset recommended, and of the paper's layer.
# What is there already is not run again.
#   examples/demo/ablations.sh OUT_DIR [WORLD_SEED] [SEEDS]
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '2,4p' "$0" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
build=${FEDALT_BUILD:-$here/../../build}
out=$1 world=$1/world-${2:-1} seeds=${3:-3}
[[ -f $world/world.json ]] || "$build/demo_world" --out "$world" --seed "${2:-1}"
world=$(realpath "$world")
r=fedalt:preset=recommended
methods=local,$r
for change in rest_of_world.weights=similarity rest_of_world.weights=uniform rest_of_world.weights=uniform:rest_of_world.gain=7 \
  rest_of_world.aggregate=factors rest_of_world.aggregate=off rest_of_world.damping=1 rest_of_world.rescale=on \
  rest_of_world.include_self=true freeze_a=true init=per_site mixer=merged mixer=fixed:0.5 mixer=layer mixer=token \
  mixer=token:mixer_start_round=2 mixer=token:mixer_train=held_out; do
  methods+=,$r:$change
done
methods+=,fedalt
for change in rest_of_world.aggregate=svd rest_of_world.aggregate=exact rest_of_world.aggregate=off rest_of_world.rescale=on \
  rest_of_world.include_self=true rest_of_world.gain=7:rest_of_world.damping=0.5 mixer_start_round=2 mixer_train=held_out \
  mixer=fixed:0.5 mixer=layer mixer=none; do
  methods+=,fedalt:$change
done
"$build/fedalt" compare "$here/demo.yaml" "data.train=$world/data/train/site_{site}.jsonl" \
  "data.test=$world/data/test/site_{site}.jsonl" adapter.target_modules=all-linear 'train.steps="19x8,8"' train.lr=2e-3 \
  eval.cross_examples=0 --methods "$methods" --seeds "$seeds" --out "$out/ablations"
echo "report: $out/ablations/report.html"

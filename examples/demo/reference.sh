#!/usr/bin/env bash
# The demo's world with every method (docs/results.md): the same search of the learning rate on held-out training examples, then three
# seeds. What is there already is not run again; Ctrl-C stops, the same command goes on.
#   examples/demo/reference.sh OUT_DIR [WORLD_SEED] [SEEDS]
set -euo pipefail
[[ $# -ge 1 ]] || { sed -n '2,4p' "$0" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
build=${FEDALT_BUILD:-$here/../../build}
out=$1 world=$1/world-${2:-1} seeds=${3:-3}
[[ -f $world/world.json ]] || "$build/demo_world" --out "$world" --seed "${2:-1}"
methods=local,fedit,fedit_ft,ffa,fedsa,feddpa,feddpa:feddpa.inference=instance,fdlora,flora,flexlora,fedex,rolora
methods+=,fedalt,fedalt:preset=paper,fedalt:preset=recommended,fedalt:preset=recommended_sum
world=$(realpath "$world")
inputs=("$here/demo.yaml" "data.train=$world/data/train/site_{site}.jsonl" "data.test=$world/data/test/site_{site}.jsonl"
  adapter.target_modules=all-linear 'train.steps="19x8,8"' validation=0.1 eval.cross_examples=0)

"$build/fedalt" compare "${inputs[@]}" --methods "$methods" --search --set train.lr=2e-3,4e-3,8e-3 --out "$out/search"
"$build/fedalt" compare "${inputs[@]}" --methods "$methods" --chosen-by "$out/search" --seeds "$seeds" --out "$out/final"
echo "report: $out/final/report.html"

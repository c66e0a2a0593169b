#!/usr/bin/env bash
# The reference experiment (docs/results.md): eight FLAN tasks, one per site, all methods. Every method gets the same search on the
# validation data, then several seeds. What is there already is not run again; Ctrl-C stops, the same command goes on.
#   examples/flan8/reference.sh MODEL_DIR DATA_DIR OUT_DIR [SEEDS]
# DATA_DIR holds train/local_training_K.json and test/local_testing_K.jsonl.
set -euo pipefail
[[ $# -ge 3 ]] || { sed -n '2,5p' "$0" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
program=${FEDALT:-$here/../../build/fedalt}
model=$1 data=$2 out=$3 seeds=${4:-3}
methods=local,fedit,fedit_ft,ffa,fedsa,feddpa,feddpa:feddpa.inference=instance,fdlora,flora,flexlora,fedex,rolora
methods+=,fedalt,fedalt:preset=paper,fedalt:preset=recommended
methods+=,fedalt:preset=recommended_sum
inputs=("$here/reference.yaml" "model=$model" "data.train=$data/train/local_training_{site}.json"
  "data.test=$data/test/local_testing_{site}.jsonl" eval.cross_examples=0)

"$program" compare "${inputs[@]}" --methods "$methods" --search --set train.lr=1e-3,3e-3,1e-2 --out "$out/search"
"$program" compare "${inputs[@]}" --methods "$methods" --chosen-by "$out/search" --seeds "$seeds" --out "$out/final"
echo "report: $out/final/report.html"

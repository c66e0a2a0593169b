#!/usr/bin/env bash
# The third world of docs/results.md: each FLAN task at two sites with 60 training examples each, so that every site has one neighbour
# whose data are like its own. Search and seeds as in reference.sh; what is there already is not run again.
#   examples/flan8/two_sites_per_task.sh MODEL_DIR DATA_DIR OUT_DIR [SEEDS]
# DATA_DIR holds train/local_training_K.json and test/local_testing_K.jsonl.
set -euo pipefail
[[ $# -ge 3 ]] || { sed -n '2,5p' "$0" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
program=${FEDALT:-$here/../../build/fedalt}
model=$1 data=$2 out=$3 seeds=${4:-3}
mkdir -p "$out"
tests=()
for file in "$data"/test/local_testing_*.jsonl; do tests+=(--test-data "$file"); done
[[ -d $out/data ]] || "$program" data split "$data"/train/local_training_*.json --by task --sites-per-task 2 --limit 60 "${tests[@]}" \
  --out "$out/data"
methods=local,fedit,fedit_ft,fedsa,feddpa,fdlora,fedalt,fedalt:preset=paper,fedalt:preset=recommended,fedalt:preset=recommended_sum
inputs=("$here/reference.yaml" "model=$model" sites=16 "data.train=$out/data/train/local_training_{site}.json"
  "data.test=$out/data/test/local_testing_{site}.jsonl" train.steps=4 eval.cross_examples=0)

"$program" compare "${inputs[@]}" --methods "$methods" --search --set train.lr=1e-3,3e-3,1e-2 --out "$out/search"
"$program" compare "${inputs[@]}" --methods "$methods" --chosen-by "$out/search" --seeds "$seeds" --out "$out/final"
echo "report: $out/final/report.html"

#!/usr/bin/env bash
# The rules of the architecture that a script can check: who may include whom, file length, no leftover notes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# layer: the layers whose headers it may include, beside its own.
declare -A may_include=(
  [base]=""
  [report]="base"
  [text]="base"
  [data]="base text"
  [privacy]="base"
  [model]="base text"
  [adapter]="base text model"
  [train]="base text data privacy model adapter"
  [fed]="base text data privacy model adapter train"
  [run]="base report text data privacy model adapter train fed"
  [store]="base text data privacy model adapter train fed"
  [cluster]="base text data privacy model adapter train fed"
  [net]="base text data privacy model adapter train fed"
  [app]="base text data privacy model adapter train fed run store cluster net report"
)
# header of another library (extended regular expression): the layers that may include it.
declare -A may_use=(
  ['(torch|ATen|c10)/']="model adapter train fed run cluster app"
  ['nlohmann/']="base report text data model adapter train fed run store net app"
  ['spdlog/']="base"
  ['sodium']="base privacy"
  ['pcre2|utf8proc']="text"
  ['yaml-cpp/']="app"
  ['CLI/']="app"
  ['sqlite3']="store"
  ['google/protobuf|grpc|.*\.pb\.h']="net"
  ['openssl/']="net"
  ['httplib']="app"
  ['gtest/']=""
)

failures=0
complain() {
  printf '%s\n' "$@" >&2
  failures=$((failures + 1))
}

for directory in src/*/; do
  layer=$(basename "$directory")
  if [[ ! -v may_include[$layer] ]]; then
    complain "src/$layer: an unknown layer; add it to tools/check_layers.sh and to docs"
    continue
  fi
  # "layer/file.h" of this project
  while IFS=: read -r file line text; do
    used=$(sed -E 's/^#include "([a-z_]+)\/.*/\1/' <<<"$text")
    [[ -d src/$used ]] || continue
    [[ " $layer ${may_include[$layer]} " == *" $used "* ]] || complain "$file:$line: src/$layer may not include src/$used"
  done < <(grep -rnE '^#include "[a-z_]+/' "$directory" || true)
  for library in "${!may_use[@]}"; do
    [[ " ${may_use[$library]} " == *" $layer "* ]] && continue
    while IFS=: read -r file line _; do
      complain "$file:$line: src/$layer may not include this library"
    done < <(grep -rnE "^#include [<\"]($library)" "$directory" || true)
  done
done

# torch/torch.h alone takes 14 seconds to compile.
while IFS=: read -r file line _; do
  complain "$file:$line: include the ATen or torch/csrc header that is needed, not all of torch"
done < <(grep -rnE '^#include <torch/(torch|all|extension)\.h>' src tests examples bench 2>/dev/null || true)

while IFS=: read -r file line text; do
  complain "$file:$line: leftover note: $text"
done < <(grep -rnwE 'TODO|FIXME|XXX' src tests examples bench cmake packaging --include='*.cc' --include='*.h' --include='*.cmake' \
  --include='*.txt' --include='*.sh' --include='*.py' 2>/dev/null || true)

while read -r count file; do
  [[ $file == total || $count -le 600 ]] || complain "$file: $count lines, at most 600 (aim for 400)"
done < <(find src tests examples bench \( -name '*.cc' -o -name '*.h' \) -exec wc -l {} + 2>/dev/null)

if [[ $failures -gt 0 ]]; then
  echo "layering: $failures findings" >&2
  exit 1
fi

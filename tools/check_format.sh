#!/usr/bin/env bash
# Fails if clang-format would change a source file. To repair: tools/check_format.sh --fix
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find src tests examples bench -name '*.cc' -o -name '*.h' -o -name '*.js' -o -name '*.mjs' 2>/dev/null | sort)
if [[ ${1:-} == --fix ]]; then exec clang-format -i "${files[@]}"; fi
clang-format --dry-run -Werror "${files[@]}" || { echo "to repair: tools/check_format.sh --fix" >&2; exit 1; }

#!/usr/bin/env bash
# clang-tidy over src/ with the compile commands of a build of its own, without g++'s precompiled header. A file is checked again only when it or a header of the project changed.
#   tools/check_tidy.sh             all files
#   tools/check_tidy.sh --changed   files that differ from the main branch (or from the last commit, on main itself)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --changed ]]; then
  since=HEAD~1
  if git rev-parse -q --verify origin/main >/dev/null && ! git merge-base --is-ancestor HEAD origin/main; then since=$(git merge-base HEAD origin/main); fi
  git rev-parse -q --verify "$since" >/dev/null || since=HEAD
  mapfile -t files < <(git diff --name-only --diff-filter=d "$since" -- 'src/*.cc' | sort)
else
  mapfile -t files < <(find src -name '*.cc' | sort)
fi

stamps=build/tidy
mkdir -p "$stamps"
newest_header=$(find src -name '*.h' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
todo=()
for file in "${files[@]}"; do
  stamp=$stamps/${file//\//_}
  [[ $stamp -nt $file && $stamp -nt $newest_header && $stamp -nt .clang-tidy ]] || todo+=("$file")
done
[[ ${#todo[@]} -gt 0 ]] || exit 0

cmake --preset release -B "$stamps" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
echo "clang-tidy: ${#todo[@]} files" >&2
# The compile commands are g++'s: OpenMP's header belongs to the compiler, and clang-tidy has none.
# shellcheck disable=SC2016  # expanded by the inner shell
printf '%s\n' "${todo[@]}" | xargs -P "$(nproc)" -I{} bash -c '
  out=$(clang-tidy -p "$2" --quiet --extra-arg=-fno-openmp --extra-arg=-include --extra-arg="$PWD/tools/clang_vector.h" --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null) &&
    touch "$2/${1//\//_}" || { printf "%s\n" "$out"; exit 1; }' tidy {} "$stamps" ||
  { echo "clang-tidy: findings above" >&2; exit 1; }

#!/usr/bin/env bash
# A server and three sites as four processes that talk over TLS; the server and one site are killed on the way, and the end is
# compared with fedalt run on one machine. Usage: examples/three-sites/run.sh [OUT_DIR]   (default: build/three-sites, made anew)
# Each of server, osaka, lyon and graz in OUT_DIR stands for a machine. docs/operations.md tells how to do this on real ones.
set -euo pipefail
[[ $# -le 1 ]] || { echo "usage: examples/three-sites/run.sh [OUT_DIR]" >&2; exit 2; }
[[ $# -eq 0 ]] || { mkdir -p "$1"; out=$(cd "$1" && pwd); }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$(cd "${FEDALT_BUILD:-build}" && pwd)
fedalt=$build/fedalt example=$PWD/examples/three-sites sites=(osaka lyon graz) started=$SECONDS
if [[ $# -eq 0 ]]; then
  out=$PWD/build/three-sites
  rm -rf "$out"
  mkdir -p "$out"
elif [[ -n $(ls -A "$out") ]]; then
  echo "$out is not empty; remove what is in it, or choose another directory" >&2
  exit 2
fi
cd "$out"

declare -A pid=()  # of the processes that run
stop_all() {
  [[ ${#pid[@]} -eq 0 ]] || kill -9 "${pid[@]}" 2>/dev/null || true
  wait
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start server|NAME: the same command at first and after a kill. What it says is added to NAME.log.
start() {
  local command=("$fedalt" site "$1/site.yaml")
  [[ $1 != server ]] || command=("$fedalt" server server/server.yaml)
  printf '+ %s\n' "${command[*]/#$build\//}"
  "${command[@]}" >>"$1.out" 2>>"$1.log" &
  pid[$1]=$!
}

# wait_for NAME PATTERN: until the log of NAME has such a line; false if it ended without one.
wait_for() {
  until grep -qE "$2" "$1.log"; do
    if ! kill -0 "${pid[$1]}" 2>/dev/null; then
      grep -qE "$2" "$1.log" && return
      return 1
    fi
    sleep 0.02
  done
}

# crash NAME LOG_LINE: the line, behind its time, says why now
crash() {
  kill -9 "${pid[$1]}"
  wait "${pid[$1]}" 2>/dev/null || true
  unset "pid[$1]"
  echo "killed $1 (kill -9): ${2#* }"
}

failed() {
  echo "$1 ended too early or with an error; it said:" >&2
  tail -n 5 "$1.log" >&2
  exit 1
}

"$build/demo_world" --out world --seed 1
cp -R "$example/../demo/base" base
mkdir server single "${sites[@]}"
{
  "$fedalt" keys init keys --federation three-sites
  "$fedalt" keys server keys --host 127.0.0.1
  for site in "${sites[@]}"; do "$fedalt" keys site keys "$site"; done
} >keys.log
mv keys/server server/keys
cp "$example/federation.yaml" server
cp "$example/federation.yaml" single
single=()
for k in "${!sites[@]}"; do
  site=${sites[k]}
  mv "keys/sites/$site" "$site/keys"
  cp "$example/federation.yaml" "$site"
  mv "world/data/train/site_$k.jsonl" "$site/train.jsonl"
  mv "world/data/test/site_$k.jsonl" "$site/test.jsonl"
  single+=("{name: $site, train: ../$site/train.jsonl, test: ../$site/test.jsonl}")
done

# A port that the server could open; below those that the system gives to outgoing connections.
for port in $(shuf -i 20000-32000 -n 20); do
  sed "s/7443/$port/" "$example/server.yaml" >server/server.yaml
  start server
  wait_for server 'listens on port' && break
  grep -q 'cannot listen' server.log || failed server
done
grep -q 'listens on port' server.log || failed server
for site in "${sites[@]}"; do
  sed "s/7443/$port/; s/site: osaka /site: $site /" "$example/site.yaml" >"$site/site.yaml"
  start "$site"
done

# One or two of three contributions are in: they were acknowledged, so they must not be asked for again.
wait_for server 'round 2, attempt 1: waits for the contributions of [a-z]+(, [a-z]+)?$|round 2: 3 contributions' || failed server
crash server "$(grep 'round 2' server.log | tail -n 1)"
start server
# A new round has just begun, so osaka trains.
wait_for server 'round 4, attempt 1: waits for the contributions of osaka, lyon, graz' || failed server
kill -0 "${pid[osaka]}" 2>/dev/null || failed osaka
crash osaka "$(grep 'round 4' server.log | tail -n 1)"
start osaka

for name in "${sites[@]}" server; do
  wait "${pid[$name]}" || failed "$name"
  unset "pid[$name]"
done

echo
for site in "${sites[@]}"; do grep -hE "^(site|$site) " "$site.out"; done |
  awk -F '  +' '!seen[$1]++ { printf "%-6s%12s%15s%25s%13s\n", $1, $2, $3, $4, $5 }'
echo
echo "+ fedalt audit verify server/run --trust keys/roster.json"
"$fedalt" audit verify server/run --trust keys/roster.json

echo
echo "+ fedalt run single/federation.yaml 'sites=[...]' --out single/run"
sites_of_all=$(IFS=,; echo "${single[*]}")
"$fedalt" run single/federation.yaml "sites=[$sites_of_all]" --out single/run --quiet >single.out

# hashes RUN SITE: of every file of the site's checkpoint after the last round. What the site got from the round lies beside its
# checkpoint where it has a machine of its own, and in it where one machine has all sites.
hashes() {
  local files
  files=$(cd "$1/rounds/$last/$2" && find . -type f -exec sha256sum {} +)
  [[ ! -f $1/rounds/$last/published.safetensors ]] ||
    files+=$'\n'$(sha256sum <"$1/rounds/$last/published.safetensors" | sed 's|-|./received.safetensors|')
  sort -k 2 <<<"$files"
}
rounds=(single/run/rounds/*)
last=${rounds[-1]##*/}
files=0 different=()
for site in "${sites[@]}"; do
  ours=$(hashes "$site/run" "$site")
  theirs=$(hashes single/run "$site")
  files=$((files + $(wc -l <<<"$theirs")))
  while read -r _ name; do
    different+=("$site/run/rounds/$last/$site/${name#./}")
  done < <(printf '%s\n%s\n' "$ours" "$theirs" | sort | uniq -u | sort -u -k 2)
done
echo "compared $files files of round $last; all of it took $((SECONDS - started)) s"
if [[ ${#different[@]} -gt 0 ]]; then
  printf 'not as on the single machine: %s\n' "${different[@]}" >&2
  exit 1
fi
echo "final adapters: identical to the single-machine run"

#!/usr/bin/env bash
# fedalt against transformers and PyTorch, whole rounds in turn; writes build/peers.json and prints a table.
#   bench/peers/run.sh [--quick] [--times N] [--threads N] [--set JSON] [--peer SETTINGS] [--no-check]
#   bench/peers/run.sh --tune        which of the peer's settings are the fastest here
# PEERS_PYTHON: a python that has what requirements.txt names (default: build/peers-venv, made here). FEDALT: the program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PEERS_PYTHON:-}
if [[ -z $python ]]; then
  venv=build/peers-venv
  python=$venv/bin/python
  if [[ ! -e $venv/complete ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement bench/peers/requirements.txt
    touch "$venv/complete"
  fi
fi
mkdir -p build
exec "$python" bench/peers/compare.py --fedalt "${FEDALT:-build/fedalt}" --work build/peers --out build/peers.json "$@"

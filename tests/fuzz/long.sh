#!/usr/bin/env bash
# Fuzz with atheris for a long time: tests/fuzz/long.sh [--seconds N] [TARGET...]
#   --seconds N  for each target, 600 by default; without TARGET all, one after the other
# Inputs that break a target are written to .peers/fuzz-findings; put them into tests/fuzz/corpus.
set -euo pipefail
. "$(dirname "$0")/../../scripts/setup.sh"
cd "$root"
seconds=600
if [ "${1:-}" = --seconds ]; then
  seconds=$2
  shift 2
fi
make_venv "$peers/fuzz-venv" "$root/requirements-fuzz.lock"
status=0
for target in "${@:-all}"; do
  PYTHONWARNINGS=ignore nice -n 15 "$peers/fuzz-venv/bin/python" -m tests.fuzz.run "$target" \
    --seconds "$seconds" --artifacts "$peers/fuzz-findings" || status=1
done
exit $status

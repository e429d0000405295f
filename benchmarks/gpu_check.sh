#!/usr/bin/env bash
# Builds the package on a machine with a GPU, runs the GPU tests and the benchmarks, in under nine minutes.
#
#   benchmarks/gpu_check.sh [OUTPUT_FOLDER]
#
# Needs python3 with torch, pytest, hypothesis, pybind11 and setuptools, g++ and nvcc; nothing is downloaded. Writes
# OUTPUT_FOLDER/gpu_check.md (one table after the other, with the versions) and gpu_check.json (the same figures).
# Every part has its own time limit; a part that fails is said in both files, and the script then ends with status 1.
set -uo pipefail
cd "$(dirname "$0")/.."
output=${1:-gpu_check}
mkdir -p "$output"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export PYTHONPATH=$PWD
python=${PYTHON:-python3}
names=() states=()

part() { # NAME SECONDS COMMAND…
  local name=$1 seconds=$2 state=ok started=$SECONDS
  shift 2
  timeout "$seconds" "$@" >"$logs/$name.log" 2>&1 || state="failed with status $?"
  names+=("$name")
  states+=("$state, $((SECONDS - started)) s")
  echo "$name: ${states[-1]}"
  [ "$state" = ok ] || tail -n 20 "$logs/$name.log"
}

part build 120 "$python" setup.py build_ext --inplace
part tests 120 "$python" -m pytest -q -m gpu tests/ops tests/parallel
part kernels 100 "$python" benchmarks/kernels.py --device cuda --json "$logs/kernels.json"
part train_step 180 "$python" benchmarks/train_step.py --preset tinyllama_1.1b --vocab-size 32000 --micro-batch-size 4 \
  --seq-length 2048 --rounds 5 --json "$logs/train_step.json"

{
  echo "# GPU check"
  echo
  date -u +"%Y-%m-%d %H:%M UTC, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
  echo
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  nvcc --version | tail -n 2 | head -n 1
  echo
  echo "| part | result |"
  echo "| --- | --- |"
  for i in "${!names[@]}"; do echo "| ${names[$i]} | ${states[$i]} |"; done
  for name in kernels train_step; do
    echo
    grep -v Warning "$logs/$name.log" | grep -E '^(\||`|tokens|$)' || true
  done
} >"$output/gpu_check.md"

"$python" - "$logs" "$output/gpu_check.json" "${names[@]}" -- "${states[@]}" <<'PYTHON'
import json, pathlib, sys

logs, output, *rest = sys.argv[1:]
cut = rest.index("--")
result = {"parts": dict(zip(rest[:cut], rest[cut + 1 :]))}
for name in ("kernels", "train_step"):
    file = pathlib.Path(logs) / f"{name}.json"
    result[name] = json.loads(file.read_text()) if file.exists() else None
pathlib.Path(output).write_text(json.dumps(result, indent=2) + "\n")
PYTHON
echo "$output/gpu_check.md"
for state in "${states[@]}"; do [[ $state == ok* ]] || exit 1; done

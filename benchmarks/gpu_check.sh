#!/usr/bin/env bash
# Builds the package on a machine with a GPU, runs the GPU tests and the benchmarks, in under nine minutes: kernels
# against references, which kernel is the fastest, memory, runs that repeat and continue bitwise, two processes over NCCL
# on the one card, and whole steps beside what gpu_trace.py predicted for them (gpu_predictions.json).
#
#   benchmarks/gpu_check.sh [OUTPUT_FOLDER]
#
# Needs python3 with torch and numpy. What the parts need beyond that (setuptools, pybind11, g++ and nvcc; pytest and
# hypothesis; transformers for the peers) is looked for first: a part without it is left out and says so. Nothing is
# downloaded. Writes OUTPUT_FOLDER/gpu_check.md, a table of what was reached with the parts' own tables below it, and
# OUTPUT_FOLDER/gpu_check.json with all figures; logs are beside them. Every part has a time limit, and the status is 1
# if one fails.
#
# DEVICE=cpu runs every part on tiny shapes without a GPU: a rehearsal of this script, whose figures say nothing.
# PYTHON is the interpreter, TOTAL_SECONDS the limit of the whole; those of the parts grow with it, for a busy machine.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
output=${1:-gpu_check}
device=${DEVICE:-cuda}
python=${PYTHON:-python3}
usual=520
total=${TOTAL_SECONDS:-$usual}
mkdir -p "$output"
output=$(cd "$output" && pwd)
rm -f "$output"/*.json "$output"/*.log "$output"/*.md
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
: >"$output/parts.txt"

remember() { # NAME STATE…
  local name=$1
  shift
  printf '%s\t%s\n' "$name" "$*" >>"$output/parts.txt"
  echo "$name: $*"
}

missing() { # PYTHON_MODULE…
  "$python" - "$@" <<'PYTHON'
import importlib.util, sys

print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
PYTHON
}

left() { # seconds until the end of the whole
  echo $((total - SECONDS > 1 ? total - SECONDS : 1))
}

share() { # SECONDS of the usual total, as a share of this one
  echo $(($1 * total / usual))
}

part() { # NAME SECONDS COMMAND…
  local name=$1 limit=$2 state=ok started=$SECONDS
  shift 2
  if ((limit > $(left))); then limit=$(left); fi
  timeout "$limit" "$@" >"$output/$name.log" 2>&1 || state="failed with status $?"
  remember "$name" "$state, $((SECONDS - started)) s"
  if [ "$state" != ok ]; then tail -n 20 "$output/$name.log"; fi
}

# What is here.
lacking=$(missing torch numpy)
if [ -n "$lacking" ]; then
  echo "python3 has no $lacking: nothing can be run" >&2
  exit 1
fi
if [ "$device" = cuda ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "torch sees no GPU; DEVICE=cpu $0 rehearses without one" >&2
  exit 1
fi

# Build. The rehearsal takes what is built already.
lacking=$(missing setuptools pybind11)
if [ "$device" = cpu ] && "$python" -c 'import steel_megatron._ops' 2>/dev/null; then
  remember build "left out: built already"
elif [ -n "$lacking" ] || ! command -v g++ >/dev/null; then
  remember build "left out: no ${lacking:-g++}"
else
  command -v nvcc >/dev/null || echo "nvcc was not found: the CUDA kernels are not built, torch serves on the GPU"
  part build "$(share 150)" "$python" setup.py build_ext --inplace --parallel "$(nproc)"
fi

# Tests marked gpu; other files are not even imported, since they may need what is not here.
lacking=$(missing pytest hypothesis)
if [ -n "$lacking" ]; then
  remember tests "left out: no $lacking"
else
  mapfile -t files < <(grep -rlE 'mark\.gpu|helpers\.kernels' tests --include='test_*.py' | sort)
  part tests "$(share 100)" "$python" -m pytest -q -m gpu -p no:cacheprovider "${files[@]}"
fi

if [ "$device" = cpu ]; then
  small=(--tokens 64 --hidden 64 --ffn 128 --vocab-size 256 --head-vocab-size 512 --rounds 1 --no-compile)
  step=(--seq-length 32 --micro-batch-size 1 --rounds 1 --only '^transformers, bf16$|backend (steel|torch)$')
  presets=(tiny)
else
  small=()
  # Peers that are never the fastest are left to longer runs.
  step=(--micro-batch-size auto --rounds 3 --only 'transformers, (bf16|Liger.*)$|plain|steel_megatron')
  presets=(tinyllama_1.1b steel_1b)
fi

# Which implementation is taken here, after a self-test of each; the parts below go by these times.
export STEEL_KERNEL_TIMES=$output/kernel_times.json
if [ "$device" = cpu ]; then shapes=(demo); else shapes=(); fi
part selftest "$(share 60)" "$python" -m steel_megatron doctor --measure "${shapes[@]}"

part kernels "$(share 90)" "$python" benchmarks/kernels.py --device "$device" --time-limit "$(share 80)" "${small[@]}" \
  --json "$output/kernels.json"

cases='16 M parameters'
if [ "$device" = cuda ]; then cases+=';16 M, bf16 moments;16 M, full;64k vocabulary, chunks'; fi
part memory "$(share 50)" "$python" benchmarks/memory.py --cases "$cases" --json "$output/memory.json"

# A run repeats and continues to the last bit; over NCCL with two processes on this one card, where NCCL lets them.
if [ "$device" = cpu ]; then
  tiny=(-- --num-layers 1 --hidden-size 32 --ffn-hidden-size 64 --num-attention-heads 2 --seq-length 32)
else
  tiny=()
fi
part resume "$(share 90)" "$python" benchmarks/resume.py --device "$device" --steps 4 --json "$output/resume.json" "${tiny[@]}"
part nccl "$(share 90)" "$python" benchmarks/resume.py --device "$device" --steps 4 --processes 2 --json "$output/nccl.json" \
  "${tiny[@]}"

# The rest of the time is shared by the presets.
waiting=${#presets[@]}
for preset in "${presets[@]}"; do
  limit=$(($(left) / waiting))
  name=train_step_$preset
  if [ "$preset" = tiny ]; then shape=(); else shape=(--preset "$preset"); fi
  part "$name" "$limit" "$python" benchmarks/train_step.py --device "$device" "${shape[@]}" "${step[@]}" \
    --time-limit $((limit > 20 ? limit - 10 : limit)) --json "$output/$name.json" --profile "$output/$name.profile.md"
  waiting=$((waiting - 1))
done

{
  date -u +"%Y-%m-%d %H:%M UTC, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $SECONDS s in all"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
  nvcc --version 2>/dev/null | grep release
  "$python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
  if [ "$device" = cpu ]; then echo "A rehearsal on a CPU: figures say nothing."; fi
} >"$output/machine.txt"
"$python" benchmarks/gpu_check_report.py "$output"

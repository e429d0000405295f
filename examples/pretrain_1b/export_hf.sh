#!/usr/bin/env bash
# Checkpoint of a run → folder that transformers loads, whose logits are compared with ours. Works while the run goes on.
#
#   LOAD=/path/to/run OUTPUT=steel_1b_hf bash examples/pretrain_1b/export_hf.sh [FLAGS OF steel export]
#
#   LOAD       folder of the run
#   OUTPUT     folder to make
#   STEP       step of the checkpoint; the newest whole one when not set
#   DTYPE=bf16 type of the weights: bf16, fp16 or fp32
#   CHECK=1    compare with transformers, which takes memory for two models in fp32 (9 GB for steel_1b); 0 leaves it out
#   SMOKE=1    trains a small model on two CPU processes first, then exports and checks it
#
# Needs no GPU and is the same on every machine.
set -euo pipefail
source "$(dirname "$0")/common.sh"

if [ "${SMOKE:-0}" = 1 ]; then
  WORK=$(mktemp -d)
  LOAD=${LOAD:-$WORK/run} OUTPUT=${OUTPUT:-$WORK/model}
  SAVE=$LOAD bash "$SCRIPTS/train_8xa100.sh" --train-iters 20 --eval-interval 20
fi
need LOAD "folder of the run"
need OUTPUT "folder to make"
[ -d "$LOAD" ] || stop "no folder of a run at $LOAD"
[ -z "${STEP:-}" ] || whole_number STEP 0
FLAGS=(--dtype "${DTYPE:-bf16}")
[ -z "${STEP:-}" ] || FLAGS+=(--step "$STEP")
[ "${CHECK:-1}" = 0 ] || FLAGS+=(--check)

python -m steel_megatron export --load "$LOAD" --output "$OUTPUT" "${FLAGS[@]}" "$@"
echo "done: transformers.AutoModelForCausalLM.from_pretrained(\"$OUTPUT\")"

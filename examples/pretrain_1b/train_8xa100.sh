#!/usr/bin/env bash
# Pretrains steel_1b in data parallel on one node of 8 GPUs. The same command goes on after a stop.
#
#   DATA="0.7 data/zh_text_document 0.3 data/code_text_document" \
#   TOKENIZER=/path/to/qwen.tiktoken SAVE=/path/to/run bash examples/pretrain_1b/train_8xa100.sh [FLAGS OF steel train]
#
#   DATA       prefix of a dataset (without .bin), or weight prefix weight prefix …
#   PHASES     instead of DATA: a file of phases, see docs/data_order.md
#   TOKENIZER  what the data was tokenised with
#   SAVE       folder of the run
#   GPUS=8     processes, one per GPU
#   SMOKE=1    the whole script on two CPU processes in a few minutes: a small model, data that it makes up
set -euo pipefail
cd "$(dirname "$0")/../.."

stop() {
  echo "error: $1" >&2
  exit 2
}

SMALL=()
if [ "${SMOKE:-0}" = 1 ]; then
  GPUS=2
  SAVE=${SAVE:-$(mktemp -d)/run}
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  # Documents in which each number follows from the one before, so that there is something to learn.
  python - > "$WORK/numbers.jsonl" << 'END'
import json, random
random.seed(0)
for _ in range(400):
    numbers = [random.randrange(1000)]
    for _ in range(300):
        numbers.append((numbers[-1] * 7 + random.randrange(3)) % 1000)
    print(json.dumps({"text": " ".join(map(str, numbers))}))
END
  python -m steel_megatron tokenize --input "$WORK/numbers.jsonl" --output-prefix "$WORK/numbers" \
    --tokenizer-type NullTokenizer --vocab-size 1000
  DATA=$WORK/numbers_text_document PHASES=
  TOKENIZER_FLAGS=(--tokenizer-type NullTokenizer --vocab-size 1000)
  SMALL=(
    --num-layers 2 --hidden-size 64 --ffn-hidden-size 176 --num-attention-heads 4 --num-query-groups 2 --kv-channels 16
    --seq-length 64 --micro-batch-size 4 --global-batch-size 16 --train-iters 60 --lr-warmup-iters 5 --lr 3e-3
    --eval-interval 20 --eval-iters 2 --save-interval 20 --split 90,10 --device cpu
  )
  export OMP_NUM_THREADS=1
else
  GPUS=${GPUS:-8}
  [ -n "${DATA:-}${PHASES:-}" ] || stop "DATA is not set: prefix of a tokenised dataset, see the head of this script"
  [ -n "${TOKENIZER:-}" ] || stop "TOKENIZER is not set: the one that the data was tokenised with"
  [ -n "${SAVE:-}" ] || stop "SAVE is not set: folder of the run"
  [ -e "$TOKENIZER" ] || stop "no tokenizer at $TOKENIZER"
  FOUND=$(python -c 'import torch; print(torch.cuda.device_count())')
  [ "$FOUND" -ge "$GPUS" ] || stop "$GPUS GPUs wanted, torch sees $FOUND: set GPUS, or see what steel doctor tells"
  TOKENIZER_FLAGS=(--tokenizer-model "$TOKENIZER")
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}
fi

if [ -n "${PHASES:-}" ]; then
  [ -f "$PHASES" ] || stop "no file of phases at $PHASES"
  SOURCES=(--phases "$PHASES")
else
  read -ra WORDS <<< "$DATA"
  for word in "${WORDS[@]}"; do
    [[ "$word" =~ ^[0-9.]+$ ]] && continue # a weight
    for suffix in bin idx; do
      [ -f "$word.$suffix" ] || stop "no $word.$suffix: DATA takes prefixes without .bin, made by steel tokenize"
    done
  done
  SOURCES=(--data-path "${WORDS[@]}")
fi
mkdir -p "$SAVE" || stop "cannot make the folder $SAVE"

torchrun --standalone --nproc-per-node "$GPUS" -m steel_megatron train \
  --config examples/pretrain_1b/steel_1b.yaml \
  "${SOURCES[@]}" "${TOKENIZER_FLAGS[@]}" --save "$SAVE" "${SMALL[@]}" "$@"
echo "done: $SAVE"

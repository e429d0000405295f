#!/usr/bin/env bash
# From the ten corpora as downloaded to tokenised datasets, a phases file for training and a data card: convert, clean,
# deduplicate, tokenise, mix. Give the same command again after a stop; what is done is not done again.
#
#   CORPORA=/data/raw WORK=/data/steel TOKENIZER=/path/to/qwen.tiktoken bash examples/pretrain_1b/prepare_data.sh
#
#   CORPORA    folder with the corpora; data.yaml says which of its folders is which corpus
#   WORK       folder for all that is made: data/ and phases.yaml for training, card/DATA_CARD.md, and what lies between
#   TOKENIZER  of the model: a .tiktoken or .model file, or a Hugging Face folder
#   CONFIG     what becomes of which corpus; examples/pretrain_1b/data.yaml when not set
#   ONLY=a,b   only these sources of it
#   WORKERS    processes at once; all cores when not set
#   AT_ONCE    steps beside one another, whose tasks are one queue for the WORKERS; 4, and WORKERS at most, when not set
#   TOKEN_TYPE=auto      uint24 holds ids above 65,499 in three bytes, not four; Megatron-LM does not read that
#   KEEP_INTERMEDIATE=1  0 removes the text of a stage once the next one is done, for a disk that would not hold all
#   IGNORE_DISK=0        1 begins although the disk seems too small
#   OVERWRITE=0          1 makes again what other settings or other files have made
#   SMOKE=1    all of it on small made-up samples of the ten corpora, with a tokenizer trained on them
#
# For another machine change WORKERS, and `memory` under `dedup` in data.yaml. WORK wants a fast disk.
set -euo pipefail
source "$(dirname "$0")/common.sh"

CONFIG=${CONFIG:-$SCRIPTS/data.yaml}
WORKERS=${WORKERS:-$(python -c 'import os; print(len(os.sched_getaffinity(0)))')}
FLAGS=() TRAIN_FLAGS=()
if [ "${SMOKE:-0}" = 1 ]; then
  WORK=${WORK:-$(mktemp -d)/data}
  CORPORA=${CORPORA:-$WORK/samples}
  [ "$CORPORA" != "$WORK/samples" ] || python "$SCRIPTS/make_samples.py" --output "$CORPORA"
  if [ -z "${TOKENIZER:-}" ]; then
    TOKENIZER=$WORK/tokenizer
    [ -f "$TOKENIZER/tokenizer.json" ] || python -m steel_megatron train-tokenizer --vocab-size 2000 \
      --input "$CORPORA/SkyPile-150B" --output "$TOKENIZER"
  fi
  export OMP_NUM_THREADS=1
  TRAIN_FLAGS=(
    --seq-length 64 --micro-batch-size 4 --global-batch-size 16 --train-iters 100 --lr-warmup-iters 2
    --eval-interval 50 --eval-iters 1 --split 90,10
  )
fi
need CORPORA "folder with the corpora as downloaded"
need WORK "folder for all that is made"
need TOKENIZER "the tokenizer of the model"
whole_number WORKERS 1
AT_ONCE=${AT_ONCE:-0}
whole_number AT_ONCE 0
[ -d "$CORPORA" ] || stop "no folder of corpora at $CORPORA"
[ -e "$TOKENIZER" ] || stop "no tokenizer at $TOKENIZER"
[ -f "$CONFIG" ] || stop "no configuration at $CONFIG"
[ "${KEEP_INTERMEDIATE:-1}" = 0 ] || FLAGS+=(--keep-intermediate)
[ "${IGNORE_DISK:-0}" = 0 ] || FLAGS+=(--ignore-disk)
[ "${OVERWRITE:-0}" = 0 ] || FLAGS+=(--overwrite)

python "$SCRIPTS/prepare_data.py" --corpora "$CORPORA" --work "$WORK" --config "$CONFIG" \
  --tokenizer "$TOKENIZER" --workers "$WORKERS" --at-once "$AT_ONCE" --token-type "${TOKEN_TYPE:-auto}" --only "${ONLY:-}" "${FLAGS[@]}" \
  --train-config "$SCRIPTS/steel_1b.yaml" -- "${TRAIN_FLAGS[@]}"
echo "train on it: PHASES=$WORK/phases.yaml TOKENIZER=$TOKENIZER SAVE=… bash examples/pretrain_1b/train_8xa100.sh"

#!/usr/bin/env bash
# Pretrains steel_1b in data parallel on one node of 8 GPUs. The same command goes on after a stop.
#
#   DATA="0.7 data/zh_text_document 0.3 data/code_text_document" \
#   TOKENIZER=/path/to/qwen.tiktoken SAVE=/path/to/run bash examples/pretrain_1b/train_8xa100.sh [FLAGS OF steel train]
#
#   DATA       prefix of a dataset (without .bin), or weight prefix weight prefix …
#   PHASES     instead of DATA: a file of phases, see docs/data_order.md; prepare_data.sh writes one
#   TOKENIZER  what the data was tokenised with
#   SAVE       folder of the run
#   GPUS=8     processes, one per GPU
#   SAVE_SECONDS=600  what a run gets to save and leave after SIGTERM, SIGINT, SIGHUP or SIGUSR1; see docs/gpu.md
#   MAX_RESTARTS=3    how often a run that fails goes on by itself from its last checkpoint
#   SMOKE=1    the whole script on two CPU processes in a few minutes: a small model, data that it makes up
#
# For another machine change GPUS, and behind the script's name --micro-batch-size (memory of a card).
set -euo pipefail
source "$(dirname "$0")/common.sh"

if [ "${SMOKE:-0}" = 1 ]; then
  GPUS=2
  smoke_inputs
else
  GPUS=${GPUS:-8}
  check_inputs "$@"
fi

start_training --standalone --local-addr 127.0.0.1 --nproc-per-node "$GPUS" -m steel_megatron train \
  --config "$SCRIPTS/steel_1b.yaml" "${RUN_FLAGS[@]}" "$@"

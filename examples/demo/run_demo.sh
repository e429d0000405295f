#!/usr/bin/env bash
# From raw text to a model that transformers loads, in six steps. Finished steps are not done again.
#
#   DEMO_MINUTES=10     how long the demo may take from the start of make; the training's length follows
#   DEMO_STEPS=N        training steps, whatever they take, instead of 240 or what fits
#   DEMO_PRECISION=P    bf16 or fp32 instead of the faster one
#   DEMO_PROCESSES=N    training processes: one per GPU, or 8 on the CPU (fewer where memory is short); tensor, pipeline
#                       and data parallel in fours
#   DEMO_INPUT=PATTERN  JSON lines with a "text" field instead of the text that the demo finds on this machine
#   DEMO_PROMPT=TEXT    what the trained model continues
#   DEMO_OUTPUT=DIR     where everything goes
set -euo pipefail
cd "$(dirname "$0")/../.."

MB_PER_PROCESS=500 # of a training process on the CPU, as measured

BEGUN=$(date +%s)
STARTED=${DEMO_STARTED:-$BEGUN} # when make began: what it installed is part of the time
DEADLINE=$((STARTED + ${DEMO_MINUTES:-10} * 60))
OUT=${DEMO_OUTPUT:-demo_run}
INPUT=${DEMO_INPUT:-}
if [ "${DEMO_STEPS:-8}" -lt 8 ]; then
  echo "error: DEMO_STEPS=$DEMO_STEPS: the demo takes 8 steps or more" >&2
  exit 2
fi
CORES=$(python -c 'import os; print(len(os.sched_getaffinity(0)))')
GPUS=$(python -c 'import torch; print(torch.cuda.device_count())')
PROCESSES=${DEMO_PROCESSES:-$((GPUS > 0 ? GPUS : 8))}
if [ -z "${DEMO_PROCESSES:-}" ] && [ "$GPUS" -eq 0 ]; then
  FREE_MB=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  while [ "$PROCESSES" -gt 1 ] && [ $((PROCESSES * MB_PER_PROCESS)) -gt "$FREE_MB" ]; do
    PROCESSES=$((PROCESSES / 2))
    echo "$FREE_MB MB of memory are free, a process takes $MB_PER_PROCESS: $PROCESSES processes"
  done
fi
if [ $((PROCESSES % 4)) -eq 0 ]; then
  TENSOR=2 PIPELINE=2
else
  TENSOR=1 PIPELINE=1
fi
DATA_PARALLEL=$((PROCESSES / TENSOR / PIPELINE))
MICRO_BATCH=$((PIPELINE > 1 ? 2 : 4)) # so that a pipeline has two micro-batches of the same batch
LAYOUT="tp$TENSOR·pp$PIPELINE·dp$DATA_PARALLEL"
export OMP_NUM_THREADS=$((CORES > PROCESSES ? CORES / PROCESSES : 1))
export HF_HUB_OFFLINE=1 # nothing is downloaded
# Another input, length or precision is another run beside the one before.
if [ -n "$INPUT" ]; then
  OUT=$OUT/input-$(printf %s "$INPUT" | cksum | cut -d' ' -f1)
fi
NAME=${DEMO_STEPS:+$DEMO_STEPS-steps-}${DEMO_PRECISION:+$DEMO_PRECISION-}$LAYOUT
RUN=$OUT/run-$NAME
MODEL=$OUT/model-$NAME

TIMES=()
LAST_HEADING="installation"
LAST_TIME=$STARTED
# Notes how long what came before took.
lap() {
  local now
  now=$(date +%s)
  TIMES+=("$(printf '%5d s  %s' $((now - LAST_TIME)) "$LAST_HEADING")")
  LAST_TIME=$now
}
heading() {
  lap
  LAST_HEADING=$2
  printf '\n\033[1m[%s/6] %s\033[0m\n' "$1" "$2"
}

heading 1 "Raw text${INPUT:+ of yours: $INPUT}"
if [ -z "$INPUT" ]; then
  python examples/demo/collect_text.py --output "$OUT/raw"
fi

heading 2 "Text, tokenizer, tokens"
if [ -z "$INPUT" ]; then
  steel convert --corpus starcoder --input "$OUT/raw/code" --output "$OUT/text/code.jsonl.zst" --workers 2
  steel convert --corpus jsonl --source documents --input "$OUT/raw/documents" --output "$OUT/text/documents.jsonl.zst"
  SOURCES=(0.9 code 0.1 documents) # weights and names of the mixture
else
  steel convert --corpus jsonl --input "$INPUT" --output "$OUT/text/yours.jsonl.zst" --workers 2
  SOURCES=(1.0 yours)
fi
if [ ! -f "$OUT/tokenizer/tokenizer.json" ]; then
  steel train-tokenizer --input "$OUT/text" --vocab-size 8192 --max-bytes 20M --output "$OUT/tokenizer"
fi
DATA=()
for word in "${SOURCES[@]}"; do
  if [ -f "$OUT/text/$word.jsonl.zst" ]; then
    steel tokenize --input "$OUT/text/$word.jsonl.zst" --output-prefix "$OUT/data/$word" \
      --tokenizer-model "$OUT/tokenizer" --append-eod --workers 2
    word=$OUT/data/${word}_text_document
  fi
  DATA+=("$word")
done

FLAGS=(
  --config examples/demo/demo.yaml
  --tensor-model-parallel-size "$TENSOR" --pipeline-model-parallel-size "$PIPELINE"
  --micro-batch-size "$MICRO_BATCH" --global-batch-size $((4 * DATA_PARALLEL))
  --data-path "${DATA[@]}" --tokenizer-model "$OUT/tokenizer"
)
START=(torchrun --standalone --local-addr 127.0.0.1 --nproc-per-node "$PROCESSES")
heading 3 "A few steps as $LAYOUT on $PROCESSES $([ "$GPUS" -gt 0 ] && echo GPUs || echo CPU processes), to choose precision and length"
if [ ! -f "$RUN/choice.sh" ]; then
  python examples/demo/choose_run.py --output "$RUN/choice.sh" --folder "$RUN.probe" --deadline "$DEADLINE" \
    ${DEMO_STEPS:+--steps "$DEMO_STEPS"} ${DEMO_PRECISION:+--precisions "$DEMO_PRECISION"} \
    -- "${START[@]}" examples/demo/probe.py "${FLAGS[@]}"
else
  echo "chosen already, in $RUN/choice.sh"
fi
. "$RUN/choice.sh"
TRAIN=(
  "${START[@]}" -m steel_megatron train "${FLAGS[@]}"
  --precision "$PRECISION" --seq-length "$SEQ_LENGTH" --num-layers "$NUM_LAYERS"
  --train-iters "$STEPS" --eval-interval "$INTERVAL" --save-interval "$INTERVAL" --eval-iters "$EVAL_ITERS"
  --log-interval "$LOG_INTERVAL" --save "$RUN"
)
if [ ! -f "$RUN/killed.jsonl" ]; then
  heading 4 "Training in $PRECISION, to be killed at step $KILL_STEP of $STEPS"
  python examples/demo/kill_at_step.py --metrics "$RUN/metrics.jsonl" --step "$KILL_STEP" --record "$RUN/killed.jsonl" \
    -- "${TRAIN[@]}"
  printf '\033[31mkilled (SIGKILL, all processes)\033[0m\n'
fi
heading 5 "The same command again: it goes on from the last checkpoint"
if [ ! -f "$RUN/finished" ]; then
  "${TRAIN[@]}"
  touch "$RUN/finished"
else
  echo "$RUN is finished already"
fi

heading 6 "The model for transformers, and what came out"
if [ ! -f "$MODEL/config.json" ]; then
  steel export --load "$RUN" --output "$MODEL" --check
fi
if [ -n "${DEMO_PROMPT:-}" ]; then
  PROMPTS=("$DEMO_PROMPT")
elif [ -z "$INPUT" ]; then
  PROMPTS=("def __init__(self, " "import os" "class " "The data ")
else
  PROMPTS=("The " "我们")
fi
python examples/demo/generate.py "$MODEL" "${PROMPTS[@]}"
python examples/demo/report.py --run "$RUN" --killed "$RUN/killed.jsonl" --output "$OUT/loss_curve.png"
lap
END=$(date +%s)

printf '\nTime taken:\n'
printf '%s\n' "${TIMES[@]}"
printf '%5d s  in all, of %d\n' $((END - STARTED)) $((DEADLINE - STARTED))

cat << END

Where everything lies:
  $OUT/loss_curve.png   the loss, with the kill marked
  $MODEL   the model, as transformers loads it
  $RUN   checkpoints, metrics.jsonl, tensorboard, config.yaml
  $OUT/data, $OUT/tokenizer, $OUT/text   tokens, tokenizer and text

What to try next (with this environment on: source .venv-demo/bin/activate):
  steel generate --load $RUN --prompt "class " --temperature 0.7
  steel inspect $OUT/data/${SOURCES[1]}_text_document
  tensorboard --logdir $RUN/tensorboard
  DEMO_STEPS=2000 make demo                  a longer run
  DEMO_INPUT='/path/to/*.jsonl' make demo    text of your own
  steel plan --preset steel_1b               the model this project is for; see examples/pretrain_1b
END

#!/usr/bin/env bash
# From raw text to a model that transformers loads, in five steps. Finished steps are not done again.
#
#   DEMO_STEPS=240      training steps
#   DEMO_PROCESSES=N    training processes: one per GPU, or 8 on the CPU; tensor, pipeline and data parallel in fours
#   DEMO_INPUT=PATTERN  JSON lines with a "text" field instead of the text that the demo finds on this machine
#   DEMO_PROMPT=TEXT    what the trained model continues
#   DEMO_OUTPUT=DIR     where everything goes
set -euo pipefail
cd "$(dirname "$0")/../.."

STEPS=${DEMO_STEPS:-240}
OUT=${DEMO_OUTPUT:-demo_run}
INPUT=${DEMO_INPUT:-}
CORES=$(python -c 'import os; print(len(os.sched_getaffinity(0)))')
GPUS=$(python -c 'import torch; print(torch.cuda.device_count())')
PROCESSES=${DEMO_PROCESSES:-$((GPUS > 0 ? GPUS : 8))}
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
# Another input or another length is another run beside the one before.
if [ -n "$INPUT" ]; then
  OUT=$OUT/input-$(printf %s "$INPUT" | cksum | cut -d' ' -f1)
fi
RUN=$OUT/run-$STEPS-steps-$LAYOUT
MODEL=$OUT/model-$STEPS-steps-$LAYOUT

heading() { printf '\n\033[1m[%s/5] %s\033[0m\n' "$1" "$2"; }
if [ "$STEPS" -lt 8 ]; then
  echo "error: DEMO_STEPS=$STEPS: the demo takes 8 steps or more" >&2
  exit 2
fi

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

TRAIN=(
  torchrun --standalone --nproc-per-node "$PROCESSES" -m steel_megatron train
  --config examples/demo/demo.yaml
  --tensor-model-parallel-size "$TENSOR" --pipeline-model-parallel-size "$PIPELINE"
  --micro-batch-size "$MICRO_BATCH" --global-batch-size $((4 * DATA_PARALLEL))
  --data-path "${DATA[@]}" --tokenizer-model "$OUT/tokenizer"
  --train-iters "$STEPS" --eval-interval $((STEPS / 8)) --save-interval $((STEPS / 8)) --save "$RUN"
)
KILL_STEP=$((STEPS / 2 + STEPS / 20 + 1)) # some steps behind a checkpoint
if [ ! -f "$RUN/killed.jsonl" ]; then
  heading 3 "Training as $LAYOUT on $PROCESSES $([ "$GPUS" -gt 0 ] && echo GPUs || echo CPU processes), to be killed at step $KILL_STEP of $STEPS"
  python examples/demo/kill_at_step.py --metrics "$RUN/metrics.jsonl" --step "$KILL_STEP" --record "$RUN/killed.jsonl" \
    -- "${TRAIN[@]}"
  printf '\033[31mkilled (SIGKILL, all processes)\033[0m\n'
fi
heading 4 "The same command again: it goes on from the last checkpoint"
if [ ! -f "$RUN/finished" ]; then
  "${TRAIN[@]}"
  touch "$RUN/finished"
else
  echo "$RUN is finished already"
fi

heading 5 "The model for transformers, and what came out"
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

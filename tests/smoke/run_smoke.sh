#!/usr/bin/env bash
# The main commands one after the other, on made-up text, with what `steel` and `torchrun` are found on the PATH.
# `make smoke PYTHON=python3.10 TORCH='torch==2.11.*'` makes an environment for it.
set -euo pipefail
cd "$(dirname "$0")/../.."

DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1

say() { printf '\n--- %s\n' "$1"; }

say "doctor"
steel doctor

say "convert, tokenizer, tokens"
python - "$DIR/raw.jsonl" << 'END'
import json
import random
import sys

words = [chr(0x4E00 + number) + chr(97 + number % 26) * (1 + number % 5) for number in range(200)]
random.seed(0)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    for _ in range(300):
        text = " ".join(random.choices(words, k=random.randint(5, 80)))
        file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
END
steel convert --corpus jsonl --input "$DIR/raw.jsonl" --output "$DIR/text.jsonl.zst" --workers 2
steel train-tokenizer --input "$DIR/text.jsonl.zst" --vocab-size 600 --output "$DIR/tokenizer"
steel tokenize --input "$DIR/text.jsonl.zst" --tokenizer-model "$DIR/tokenizer" --append-eod --workers 2 \
  --output-prefix "$DIR/data"
steel inspect "$DIR/data_text_document"

TRAIN=(
  torchrun --standalone --nproc-per-node 2 -m steel_megatron train
  --num-layers 2 --hidden-size 64 --ffn-hidden-size 128 --num-attention-heads 4 --num-query-groups 2
  --max-position-embeddings 64 --seq-length 32 --tensor-model-parallel-size 2
  --micro-batch-size 2 --global-batch-size 4 --lr 1e-3 --lr-decay-iters 8 --eval-iters 1 --log-interval 1
  --data-path "$DIR/data_text_document" --tokenizer-model "$DIR/tokenizer" --save "$DIR/run" --save-interval 4
)
say "training on two processes"
"${TRAIN[@]}" --train-iters 4
say "the same run goes on"
"${TRAIN[@]}" --train-iters 8
python - "$DIR/run/metrics.jsonl" << 'END'
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert [row["step"] for row in rows] == list(range(1, 9)), rows
assert rows[-1]["loss"] < rows[0]["loss"], [row["loss"] for row in rows]
END

say "export and generation"
steel export --load "$DIR/run" --output "$DIR/hf" --check
steel generate --load "$DIR/run" --prompt "一" --greedy --max-new-tokens 8

say "passed"
python - << 'END'
import platform
from importlib.metadata import version

print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")))
END

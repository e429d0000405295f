"""A folder with one small thing of each kind that commands read, and a command line of each that works in it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import traceback
from pathlib import Path

import numpy as np

from steel_megatron.cli.main import main

SHAPE = "--num-layers 1 --hidden-size 16 --ffn-hidden-size 32 --num-attention-heads 2 --num-query-groups 1"
RUN = (
    f"{SHAPE} --seq-length 16 --max-position-embeddings 16 --micro-batch-size 2 --global-batch-size 4 --train-iters 1 "
    "--lr-warmup-iters 0 --eval-iters 0 --fp32 --device cpu --num-workers 0"
)
DATA = "--data-path data_text_document --tokenizer-model tokenizer"

# A new command is tried without a line until it has one here: with its one option alone.
LINES = {
    "convert": ["--corpus jsonl --input text.jsonl --output out/text.jsonl"],
    "clean": ["--recipe recipe.yaml --input text.jsonl --output out/clean.jsonl"],
    "dedup": ["--exact-only --input a=text.jsonl --output out/dedup"],
    "dedup-lines": ["--input a=text.jsonl --output out/dedup_lines"],
    "classify train": ["--good text.jsonl --bad bad.jsonl --output out/x.classifier --bits 8"],
    "classify report": ["--model x.classifier --input text.jsonl --output out/page.html"],
    "classify train-ngram": ["--input text.jsonl --output out/x.ngram"],
    "classify score": ["--model x.classifier --input text.jsonl --output out/scored"],
    "train-tokenizer": ["--input text.jsonl --vocab-size 270 --output out/tokenizer"],
    "tokenize": ["--input text.jsonl --tokenizer-model tokenizer --output-prefix out/data"],
    "import-dataset": ["--input ids.npy --no-manifest --output-prefix out/ids"],
    "merge": ["--input data_text_document --output-prefix out/merged"],
    "inspect": [
        "data_text_document --document 0",
        "data_text_document --packing --seq-length 16 --data-cache-path out/cache",
        "--run run --sample 0",
    ],
    "mix plan": [f"{DATA} {RUN}"],
    "mix add": ["run --from 40 --weight a=1 --dry-run"],
    "plan": ["--preset demo"],
    "train": [f"{DATA} {RUN} --save out/run --tensorboard --packing best-fit --data-cache-path out/cache"],
    "verify": ["--world-size 1 --layouts dp1,mbs1 --steps 1 --certificate out/proof"],
    "export": ["--load run --output out/hf"],
    "import": ["--hf hf --save out/imported"],
    "generate": [
        "--load run --prompt a --max-new-tokens 1 --device cpu",
        "--hf hf --prompt a --max-new-tokens 1 --device cpu",
    ],
}


def say(*words: str) -> tuple[int, str, str]:
    """A command in this process: exit status (99: an exception got out), what it printed, what it complained of."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(list(words))
        except SystemExit as left:
            status = int(left.code or 0)
        except BaseException:
            status = 99
            traceback.print_exc()
    return status, out.getvalue(), err.getvalue()


def line_without(line: str, action: argparse.Action, parser: argparse.ArgumentParser) -> list[str]:
    """The words of a line without an option, and without those that exclude it."""
    excluded = {action.dest}
    for group in parser._mutually_exclusive_groups:
        if action in group._group_actions:
            excluded |= {other.dest for other in group._group_actions}
    flags = {flag for other in parser._actions if other.dest in excluded for flag in other.option_strings}
    kept, keep = [], bool(action.option_strings)  # words before the first flag stand for the option without one
    for word in line.split():
        if word.startswith("--"):
            keep = word not in flags
        if keep:
            kept.append(word)
    return kept


def make_world(folder: Path) -> None:
    """Fills the folder, which is the current one."""
    with open("text.jsonl", "w", encoding="utf-8") as file:
        for number in range(60):
            file.write(json.dumps({"text": f"从前有座山 {number} and words and words", "id": str(number)}) + "\n")
    (folder / "recipe.yaml").write_text("process: [{text_length_filter: {min_len: 1}}]\n")
    (folder / "phases.yaml").write_text("- {from: 0, sources: {a: {path: data_text_document, weight: 1}}}\n")
    (folder / "bad.jsonl").write_text('{"text": "navigation, login, navigation"}\n' * 3)
    np.save("ids.npy", np.arange(100, dtype=np.uint16))
    for line in (
        "train-tokenizer --input text.jsonl --vocab-size 270 --output tokenizer",
        "classify train --good text.jsonl --bad bad.jsonl --held-out 0 --bits 8 --output x.classifier",
        "tokenize --input text.jsonl --tokenizer-model tokenizer --append-eod --output-prefix data",
        f"train --phases phases.yaml --tokenizer-model tokenizer {RUN} --train-iters 2 --save run",
        "export --load run --output hf",
    ):
        status, out, err = say(*line.split())
        assert status == 0, f"{line}\n{out}{err}"

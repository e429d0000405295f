"""Classifiers beside fastText's: AUC on the same held-out texts, and megabytes per second of one core.

    python benchmarks/classify.py --task reviews pos.jsonl neg.jsonl --task pages zh.jsonl en.jsonl

A task is a name, a file of good texts and one of bad ones, as JSON lines. fastText sees a text as words: runs of
letters, and each ideograph by itself, as it is used for Chinese; several of its settings are tried, its best counts.
Ours is steel classify's default. Without --task two tasks are run, of this repository's pages and Python's library.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.classified_texts import chinese_and_english, prose_and_code, write_records
from steel_megatron._classify import score_lines
from steel_megatron._minhash import instruction_set
from steel_megatron.corpus.classify import TrainSettings, train_classifier
from steel_megatron.corpus.classify.metrics import auc
from steel_megatron.corpus.classify.texts import labelled_inputs, read_texts

FASTTEXT: tuple[dict[str, Any], ...] = (
    {"wordNgrams": 2, "epoch": 5},
    {"wordNgrams": 3, "epoch": 10},
    {"wordNgrams": 2, "epoch": 25, "lr": 0.5},
    {"wordNgrams": 4, "epoch": 10, "lr": 0.5},
)
SPEED_BYTES = 20_000_000
ROUNDS = 5
_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|\w+|[^\w\s]")


def words(text: str) -> str:
    """What fastText sees."""
    return " ".join(_WORD.findall(text))


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of all threads, and what came out."""
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def lines_of(texts: Sequence[str]) -> bytes:
    """Records of the texts, again and again, of a size worth timing."""
    block = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode() + b"\n"
    return block * (SPEED_BYTES // len(block) + 1)


def ours(good: str, bad: str, held_out: list[list[str]]) -> tuple[float, float, float]:
    """AUC, CPU seconds of training, and MB of JSON lines per CPU second of scoring."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"bad": [bad], "good": [good]}
        seconds, (classifier, _) = cpu_seconds(lambda: train_classifier(given, Path(folder) / "x.classifier"))
    scores = classifier.probabilities([text for own in held_out for text in own])
    block = lines_of([text for own in held_out for text in own])
    rounds = [cpu_seconds(lambda: score_lines([classifier.linear], block, "text"))[0] for _ in range(ROUNDS)]
    return _auc(scores, held_out), seconds, len(block) / statistics.median(rounds) / 1e6


def _auc(scores: Any, held_out: list[list[str]]) -> float:
    is_second = np.repeat([False, True], [len(own) for own in held_out])
    return auc(np.asarray(scores, float), is_second) or 0.0


def fast_text(
    train: list[list[str]], held_out: list[list[str]], settings: dict[str, Any]
) -> tuple[float, float, float]:
    """The same of fastText; its speed is that of predicting lines whose words are marked off already."""
    import fasttext

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        lines = [f"__label__{label} {words(text)}" for label, own in enumerate(train) for text in own]
        np.random.default_rng(1).shuffle(lines)
        file.write("\n".join(lines))
        file.flush()
        seconds, model = cpu_seconds(
            lambda: fasttext.train_supervised(file.name, thread=1, verbose=0, seed=1, **settings)
        )
    texts = [words(text) for own in held_out for text in own]
    labels, found = model.predict(texts, k=1)  # k=2 gives the first probability twice in 0.9.2
    scores = [
        float(p[0]) if label[0] == "__label__1" else 1 - float(p[0]) for label, p in zip(labels, found, strict=True)
    ]
    many = texts * (SPEED_BYTES // 10 // sum(len(text.encode()) for text in texts) + 1)
    rounds = [cpu_seconds(lambda: model.predict(many, k=1))[0] for _ in range(ROUNDS)]
    size = sum(len(text.replace(" ", "").encode()) for text in many)
    return _auc(scores, held_out), seconds, size / statistics.median(rounds) / 1e6


def default_tasks(folder: Path) -> list[tuple[str, str, str]]:
    """Prose and code of Python's library; Chinese pages and English ones."""
    tasks = []
    for name, pair in (("prose", prose_and_code()), ("Chinese", chinese_and_english())):
        paths = [str(write_records(folder / f"{name}{at}.jsonl", own)) for at, own in enumerate(pair)]
        tasks.append((name, paths[0], paths[1]))
    return tasks


def main() -> None:
    """Runs the tasks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs=3, action="append", metavar=("NAME", "GOOD", "BAD"))
    args = parser.parse_args()
    there = importlib.util.find_spec("fasttext") is not None
    print(f"python benchmarks/classify.py {' '.join(sys.argv[1:])}")
    print(
        f"{platform.machine()}, {instruction_set}; scoring is compiled for the base set. Medians of {ROUNDS} rounds.\n"
    )
    print("| texts | classifier | AUC | training, CPU s | scoring, MB per CPU s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, good, bad in args.task or default_tasks(Path(folder)):
            settings = TrainSettings()
            labelled = labelled_inputs({"bad": [bad], "good": [good]})
            texts = read_texts(labelled, settings.key, settings.held_out, settings.most_bytes, settings.seed)
            found, seconds, speed = ours(good, bad, texts.held_out)
            print(f"| {name} | ours | {found:.4f} | {seconds:.1f} | {speed:.0f} |", flush=True)
            for chosen in FASTTEXT if there else ():
                found, seconds, speed = fast_text(texts.train, texts.held_out, chosen)
                said = ", ".join(f"{key} {value}" for key, value in chosen.items())
                print(f"| {name} | fastText, {said} | {found:.4f} | {seconds:.1f} | {speed:.1f} |", flush=True)
    if not there:
        print("\nfastText is not installed: pip install fasttext")


if __name__ == "__main__":
    main()

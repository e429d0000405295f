"""Killed at random moments, again and again, a run ends with the bytes of one that was never stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.json_lines import write_lines

RUN = """
import os, sys, threading, time
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise import join, shuffled
from steel_megatron.tokens.tokenise.run import tokenize

def die():
    time.sleep(float(sys.argv[1]))
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    join.GROUP_BYTES, shuffled.BUCKET_BYTES = 100_000, 50_000
    threading.Thread(target=die, daemon=True).start()
    workers, seed = int(sys.argv[2]), int(sys.argv[3]) or None
    tokenize(sys.argv[5:], sys.argv[4], NullTokenizer(60_000), part_bytes=40_000, workers=workers, shuffle_seed=seed)
"""
MOST_KILLS = 200


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_at_random_moments(tmp_path: Path, workers: int, seed: int) -> None:
    chance = random.Random(workers)
    texts = [" ".join(str(chance.randrange(60_000)) for _ in range(chance.randrange(60))) for _ in range(20_000)]
    inputs = [write_lines(tmp_path / "a.jsonl", [*texts[:15_000], b"broken"])]
    inputs += [write_lines(tmp_path / "b.jsonl.gz", [b"broken", *texts[15_000:]])]
    (tmp_path / "run.py").write_text(RUN)

    def run(seconds: float, folder: str) -> int:
        words = [sys.executable, "run.py", str(seconds), str(workers), str(seed), f"{folder}/x", *map(str, inputs)]
        return subprocess.run(words, cwd=tmp_path, check=False, capture_output=True).returncode

    assert run(600, "whole") == 0
    kills = 0
    while (ended := run(0.1 + chance.random() * (workers - 0.8) + kills / 50, "killed")) != 0 and kills < MOST_KILLS:
        assert ended == -signal.SIGKILL
        kills += 1
    assert 0 < kills < MOST_KILLS
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")

"""Training a tokenizer on files: for any number of workers, in the memory it is given, stopped and gone on with."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from helpers.bpe_peer import mixed_texts
from helpers.json_lines import write_lines
from steel_megatron.config import DataError
from steel_megatron.tokenizer.train import train_bpe
from steel_megatron.tokens.vocabulary import run as module
from steel_megatron.tokens.vocabulary.run import LEAST_MEMORY, train_tokenizer

TEXTS = [text for seed in range(60) for text in mixed_texts(seed)]


def clauses(count: int) -> list[str]:
    """Chinese in clauses hardly any of which comes twice."""
    choose = random.Random(0)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]
    words = ["".join(choose.choices(letters, k=choose.randrange(1, 4))) for _ in range(3000)]
    return ["，".join("".join(choose.choices(words, k=5)) for _ in range(80)) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(4):
        write_lines(folder / f"{number}.jsonl{'.zst' if number == 2 else ''}", TEXTS[number::4])
    return folder


def test_workers_parts_and_memory_change_nothing(folder, tmp_path):
    ordered = [text for number in range(4) for text in TEXTS[number::4]]
    expected = train_bpe(ordered, 700, ["<pad>"]).to_str(pretty=True)
    for name, settings in {
        "a": {},
        "b": {"workers": 2, "part_bytes": 20_000},
        "c": {"memory": LEAST_MEMORY, "workers": 8, "part_bytes": 7_000},
    }.items():
        done = train_tokenizer([folder], tmp_path / name, 700, special_tokens=["<pad>"], **settings)
        assert (tmp_path / name / "tokenizer.json").read_text(encoding="utf-8") == expected
        assert (done.files, done.documents, done.rejects) == (4, len(TEXTS), {})
        assert done.text_bytes == sum(len(text.encode()) for text in TEXTS)
        assert done.kept.threshold == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_every_file_gives_its_share(tmp_path):
    write_lines(tmp_path / "big.jsonl", ["b" * 89] * 900)
    write_lines(tmp_path / "small.jsonl", ["s" * 89] * 100)
    done = train_tokenizer([tmp_path], tmp_path / "out", 260, special_tokens=[], max_bytes=10_000)
    assert 9_900 <= done.text_bytes <= 10_200
    assert done.documents == pytest.approx(113, abs=2)


def test_no_text_is_an_error_and_leaves_no_tokenizer(tmp_path):
    write_lines(tmp_path / "a.jsonl", ["", b'{"other": 1}'])
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([tmp_path], tmp_path / "out", 300)
    assert not (tmp_path / "out").exists()


def test_what_is_counted_is_not_counted_again(folder, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_folder", fails)
    with pytest.raises(DataError, match="could not be written"):
        train_tokenizer([folder], tmp_path / "out", 400)
    monkeypatch.undo()
    monkeypatch.setattr(module, "count_part", fails)
    train_tokenizer([folder], tmp_path / "out", 500, memory=LEAST_MEMORY)
    assert len(json.loads((tmp_path / "out" / "tokenizer.json").read_bytes())["model"]["vocab"]) == 497
    with pytest.raises(DataError):  # another key is another count
        train_tokenizer([folder], tmp_path / "out", 500, key="other")


def test_a_killed_run_goes_on(folder, tmp_path):
    words = "import sys; from steel_megatron.tokens.vocabulary.run import train_tokenizer as t;"
    (tmp_path / "in").mkdir()
    for number in range(20):
        write_lines(tmp_path / "in" / f"{number}.jsonl", TEXTS)
    call = f"t([{str(tmp_path / 'in')!r}], {str(tmp_path / 'out')!r}, 900, part_bytes=50_000)"
    work = tmp_path / "out.counts.partial"
    killed = subprocess.Popen([sys.executable, "-c", words + call])
    while killed.poll() is None and not (work.is_dir() and any(work.glob("*.done"))):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert any(work.glob("*.done"))
    done = train_tokenizer([tmp_path / "in"], tmp_path / "out", 900, part_bytes=50_000)
    assert done.documents == 20 * len(TEXTS)
    again = train_tokenizer([tmp_path / "in"], tmp_path / "fresh", 900)
    assert again.text_bytes == done.text_bytes
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("out", "fresh")]
    assert files[0] == files[1]


PROGRAM = """
import resource, sys
from steel_megatron.tokens.vocabulary.run import train_tokenizer
source, target, memory, workers = sys.argv[1:]
kept = train_tokenizer([source], target, 600, memory=int(memory), workers=int(workers), part_bytes=4 << 20).kept
peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(kept.threshold, kept.pretokens, kept.counted_pretokens, *peaks)
"""


def measured(source, target, memory, workers):
    """Threshold, kept and counted pre-tokens, and the peaks of the process and of the largest of its workers."""
    # A process begins with the peak of the one that starts it: the shell's is small.
    words = ["sh", sys.executable, "-c", PROGRAM, str(source), str(target), str(memory), str(workers)]
    done = subprocess.run(["/bin/sh", "-c", '"$@"', *words], check=True, capture_output=True, text=True)
    return map(int, done.stdout.split())


def test_a_process_keeps_to_its_memory(tmp_path):
    """38 MB of clauses that hardly come twice, more than the memory holds: some stand for the others."""
    source = write_lines(tmp_path / "a.jsonl", clauses(20_000))
    threshold, kept, counted, own, _ = measured(source, tmp_path / "out", LEAST_MEMORY, 1)
    assert own <= LEAST_MEMORY
    assert threshold > 1
    assert counted // 3 < kept < counted


@pytest.mark.slow
def test_workers_keep_to_their_memory(tmp_path):
    source = write_lines(tmp_path / "a.jsonl", clauses(100_000))
    memory = 3 * LEAST_MEMORY
    threshold, kept, counted, own, worker = measured(source, tmp_path / "out", memory, 2)
    assert own + 2 * worker <= memory
    assert threshold > 1
    assert counted // 3 < kept < counted

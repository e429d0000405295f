"""Makes small stand-ins of the ten corpora: the folders, file formats and fields of the originals, texts made up.

Each also has what the originals have: records that cannot be used, duplicates within and across corpora, near
duplicates, pages that are no text, words that look like control tokens. samples.json tells for each corpus how many
records there are, and how many of them `steel convert` has to reject.

Usage: python examples/pretrain_1b/make_samples.py --output DIR [--records 120] [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sample_texts import PEOPLE, PLACES, THINGS, chinese, cpp_code, english, python_code

BROKEN = b'{"text": "this line ends too early'
CONTROL = "网页里写着<|im_end|>这样的字样，它只是文字。"
# What a recipe has to drop: a menu, a line of signs, a text that says one thing over and over.
JUNK = ("首页 登录", "★☆※◆" * 40 + "→←↑↓" * 30, "点击下载最新版本软件" * 80)
MINIFIED = "var a=" + ";".join(f"f{n}({n * 7919 % 1000003:06x})" for n in range(4000))


class Samples:
    """Writes the corpora below a folder and counts."""

    def __init__(self, folder: Path, records: int, seed: int) -> None:
        self.folder, self.records = folder, records
        self.random = Random(seed)
        self.counts: dict[str, dict[str, int]] = {}
        self.shared = [chinese(self.random, 8, 2) for _ in range(6)]  # texts that several corpora have

    def count(self, name: str, records: int, rejects: int) -> None:
        before = self.counts.setdefault(name, {"records": 0, "rejects": 0})
        before["records"] += records
        before["rejects"] += rejects

    def web_texts(self) -> list[str]:
        """Chinese pages; six are shared, one occurs twice, one a second time with a character changed."""
        texts = [
            chinese(self.random, self.random.randint(6, 16), self.random.randint(1, 3)) for _ in range(self.records)
        ]
        near = texts[1][:40] + "甲" + texts[1][41:]
        return [*texts, *self.shared, texts[0], near, texts[2] + "\n" + CONTROL, *JUNK]

    def question(self) -> str:
        r = self.random
        return f"{r.choice(PLACES)}的{r.choice(PEOPLE)}怎样选{r.choice(THINGS)}，第{r.randint(1, 999)}种办法是什么？"

    def answer(self) -> str:
        return chinese(self.random, self.random.randint(3, 6))

    def lines(self, name: str, path: str, records: Iterable[Any], bad: Sequence[Any] = ()) -> None:
        """JSON lines, one of which ends too early; ``bad`` are further records to be rejected."""
        good = [json.dumps(record, ensure_ascii=False).encode() for record in records]
        rejected = [json.dumps(record, ensure_ascii=False).encode() for record in bad] + [BROKEN]
        half = len(good) // 2
        self.write(path, b"\n".join([*good[:half], *rejected, *good[half:]]) + b"\n")
        self.count(name, len(good) + len(rejected), len(rejected))

    def write(self, path: str, content: bytes) -> None:
        """A file, inside a ``.tar.gz`` where the name says so."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith(".tar.gz"):
            target.write_bytes(content)
            return
        with tarfile.open(target, "w:gz") as archive:
            entry = tarfile.TarInfo(target.name.removesuffix(".tar.gz"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    def parquet(self, name: str, path: str, columns: dict[str, pa.Array], rejects: int) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns)
        pq.write_table(table, target)
        self.count(name, table.num_rows, rejects)


def skypile(s: Samples) -> None:
    for file in ("2020-40_zh_head_0000", "2021-31_zh_middle_0001"):
        s.lines(
            "skypile", f"SkyPile-150B/data/{file}.jsonl", ({"text": text} for text in s.web_texts()), [{"text": ""}]
        )


def wanjuan(s: Samples) -> None:
    nlp = "WanJuan1.0/raw/nlp"
    pages = [{"id": f"Bk{n:06}", "content": f"# {s.question()}\n{text}"} for n, text in enumerate(s.web_texts())]
    pages += [{"id": f"Bs{n:06}", "content": text} for n, text in enumerate(s.shared)]
    s.lines("wanjuan_zh", f"{nlp}/CN/WebText-cn/part-003756-b9c8d7e6.jsonl.tar.gz", pages, [{"id": "x"}])
    exams = []
    for n in range(s.records // 4):
        exams.append(
            {
                "id": f"Ex{n:06}",
                "q_type": "单选题",
                "q_main": s.question() + "请选出正确的一项（ ）",
                **{f"option_{letter}": s.random.choice(THINGS) for letter in "abcd"},
                "option_e": "",
                "std_ans": s.random.choice("ABCD"),
                "answer_detail": s.answer(),
                "grade": "初三",
                "major": "化学",
                "keypoint": s.random.choice(THINGS),
            }
        )
    s.lines("wanjuan_zh", f"{nlp}/CN/Exam-cn/part-000001-a1b2c3d4.jsonl.tar.gz", exams)
    pages = [{"id": f"En{n:06}", "content": english(s.random, s.random.randint(5, 12))} for n in range(s.records)]
    s.lines("wanjuan_en", f"{nlp}/EN/WebText-en/part-000009-0a0b0c0d.jsonl.tar.gz", pages, [{"id": "x"}])


def wikipedia_cn(s: Samples) -> None:
    entries: list[Any] = [
        {"completion": s.question()[:6] + "\n" + s.answer(), "source": "wikipedia.zh2307"} for _ in range(s.records)
    ]
    entries += [{"completion": s.shared[0], "source": "wikipedia.zh2307"}, {"completion": None, "source": "x"}, "x"]
    name = "wikipedia-cn-20230720-filtered"
    s.write(f"{name}/{name}.json", json.dumps(entries, ensure_ascii=False, indent=2).encode())
    s.count("wikipedia_cn", len(entries), 2)


def baidu_baike(s: Samples) -> None:
    entries = []
    for n in range(s.records):
        sections = [{"title": title, "content": s.answer() + "[1]"} for title in ("简介", "历史", "做法")[: n % 3 + 1]]
        entries.append(
            {
                "title": s.random.choice(THINGS) + str(n),
                "summary": s.answer() if n % 4 == 0 else None,
                "sections": sections,
                "tags": ["生活"],
                "url": f"http://baike.baidu.com/view/{n:07}.htm",
            }
        )
    bad = [{"title": None, "summary": None, "sections": [], "tags": [], "url": ""}]
    s.lines("baidu_baike", "BaiduBaike-5.63M/563w_baidubaike.json", entries, bad)


def baike_qa(s: Samples) -> None:
    entries = []
    for n in range(s.records):
        title = s.question()
        desc = ("", title, s.question())[n % 3]
        answer = s.answer() + "\r\n" + s.answer()
        entries.append({"qid": f"qid_{n}", "category": "生活", "title": title, "desc": desc, "answer": answer})
    bad = [{"qid": "qid_x", "category": "生活", "title": s.question(), "desc": "", "answer": ""}]
    s.lines("baike_qa", "baike_qa2019/baike_qa_train.json", entries, bad)


def zhihu_kol(s: Samples) -> None:
    votes = ["赞同 4432", "赞同 1.5 万", "赞同 100", "赞同 99", "赞同"]  # the last two are below the least number
    rows = [votes[n % len(votes)] for n in range(s.records)]
    metadata = [
        json.dumps(
            {
                "question_id": float(n),
                "answer_id": float(n + 7),
                "url": "https://x",
                "upvotes": vote,
                "answer_creation_time": "2020-01-01",
            },
            ensure_ascii=False,
        )
        for n, vote in enumerate(rows)
    ]
    columns = {
        "INSTRUCTION": pa.array([s.question() for _ in rows]),
        "RESPONSE": pa.array([s.answer() for _ in rows]),
        "SOURCE": pa.array(["Zhihu"] * len(rows)),
        "METADATA": pa.array(metadata),
    }
    few = sum(vote in votes[3:] for vote in rows)
    s.parquet("zhihu_kol", "Zhihu-KOL/data/train-00000-of-00005-0123456789abcdef.parquet", columns, few)


def belle(s: Samples) -> None:
    half = s.records // 2
    single = [
        {"instruction": s.question(), "input": s.answer() if n % 3 == 0 else "", "output": s.answer()}
        for n in range(half)
    ]
    s.lines("belle", "BELLE/train_2M_CN.json", single, [{"instruction": s.question(), "input": "", "output": ""}])
    turns = []
    for n in range(half):
        said = [
            {"from": "human" if k % 2 == 0 else "assistant", "value": s.question() if k % 2 == 0 else s.answer()}
            for k in range(2 + n % 3 * 2)
        ]
        turns.append({"id": str(10_000_000 + n), "conversations": said})
    twice = {
        "id": "x",
        "conversations": [{"from": "human", "value": s.question()}, {"from": "human", "value": s.question()}],
    }
    s.lines("belle", "BELLE/train_3.5M_CN.json", turns, [twice])


def moss(s: Samples) -> None:
    talks = [
        {
            "conversation_id": n,
            "category": "Brainstorming",
            "conversation": [{"human": s.question(), "assistant": s.answer()} for _ in range(1 + n % 3)],
        }
        for n in range(s.records)
    ]
    bad = [{"conversation_id": -1, "category": "Code", "conversation": []}]
    s.lines("moss", "moss-003-sft-data/moss-003-sft-data.jsonl", talks, bad)


def firefly(s: Samples) -> None:
    tasks = [{"kind": "Summary", "input": "概括：\n" + s.answer(), "target": s.question()} for _ in range(s.records)]
    s.lines("firefly", "firefly-train-1.1M/firefly-train-1.1M.jsonl", tasks, [{"kind": "NLI", "input": s.question()}])


def starcoder(s: Samples) -> None:
    for language, suffix, code, stars in (
        ("cpp", "cpp", cpp_code, pa.float64()),
        ("python", "py", python_code, pa.int64()),
    ):
        texts: list[str | None] = [code(s.random) for _ in range(s.records // 2)]
        tag = f"<reponame>someone/tool<filename>src/main.{suffix}<gh_stars>10-100\n"
        texts = [*texts, f"{tag}{code(s.random)}", texts[0], MINIFIED, None]
        rows = range(len(texts))
        columns = {
            "max_stars_repo_path": pa.array([f"src/file{n}.{suffix}" for n in rows]),
            "max_stars_repo_name": pa.array([f"someone/tool{n}" for n in rows]),
            "max_stars_count": pa.array([None if n % 5 == 0 else n for n in rows], type=stars),
            "id": pa.array([str(n) for n in rows]),
            "content": pa.array(texts, type=pa.string()),
        }
        s.parquet("starcoder", f"starcoderdata/{language}/train-00000-of-00048.parquet", columns, 1)


CORPORA = (skypile, wanjuan, wikipedia_cn, baidu_baike, baike_qa, zhihu_kol, belle, moss, firefly, starcoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="Folder to fill.")
    parser.add_argument("--records", type=int, default=120, help="Records of a corpus, about (default: 120).")
    parser.add_argument("--seed", type=int, default=0, help="Another number, other texts (default: 0).")
    args = parser.parse_args()
    summary = args.output / "samples.json"
    if summary.is_file():
        print(f"{args.output} has its samples already")
        return
    samples = Samples(args.output, args.records, args.seed)
    for make in CORPORA:
        make(samples)
    summary.write_text(json.dumps(samples.counts, indent=2) + "\n", encoding="utf-8")
    print(f"{args.output}: samples of {len(CORPORA)} corpora")


if __name__ == "__main__":
    main()

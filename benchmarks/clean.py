"""Cleaning speed on Chinese text, native beside data-juicer, one process each, in one run.

    python benchmarks/clean.py --data-juicer DIR

DIR is what ``tools/preprocess/install_data_juicer.sh DIR`` made; without it only the native speed is shown. Both read
the same JSON lines and write theirs. Times are CPU seconds of all processes of a run, so that other work on the machine
does not count; what a run on one document takes (start, imports) is measured apart and taken off. Sentences are put
together from common words, or taken from ``--input``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# Twelve of the operations that the ancestor of this project cleaned its texts with: those that need no model and no
# library but ftfy.
PROCESS: list[dict[str, dict[str, object]]] = [
    {"clean_email_mapper": {}},
    {"clean_links_mapper": {}},
    {"fix_unicode_mapper": {}},
    {"punctuation_normalization_mapper": {}},
    {"remove_repeat_sentences_mapper": {"min_repeat_sentence_length": 2}},
    {"whitespace_normalization_mapper": {}},
    {"alphanumeric_filter": {"min_ratio": 0.0, "max_ratio": 0.98}},
    {"character_repetition_filter": {"rep_len": 10, "max_ratio": 0.4}},
    {"special_characters_filter": {"max_ratio": 0.35}},
    {"text_length_filter": {"min_len": 10, "max_len": 100000}},
    {"words_num_filter": {"min_num": 1, "max_num": 10000}},
    {"word_repetition_filter": {"rep_len": 10, "max_ratio": 0.5}},
]
COMMON = """
    我们 他们 中国 发展 社会 经济 工作 问题 可以 没有 进行 公司 企业 市场 技术 管理 学生 学校 教育 国家
    政府 生活 时间 研究 系统 服务 产品 文化 历史 城市 北京 上海 科学 数据 模型 网络 信息 方法 项目 建设
    环境 健康 医院 医生 孩子 家庭 朋友 故事 音乐 电影 比赛 球队 记者 报道 的 是 在 了 和 有 不 这 也 就 都
    而 及 与 对 从 到 为 以 把 被 将 会 能 要 很 更 最 一个 这种 由于 因此 但是 如果 虽然 同时 通过 关于
    之后 以前 目前 今年 去年 二十 三百 许多 重要 主要 新的 好的 大量 提高 增加 减少 开始 继续 完成 实现
    认为 表示 指出 介绍 希望 需要 应该 喜欢 知道 看到 听说 参加 组织 举行 支持 保护 创新 改革 开放 农村
    农民 土地 粮食 天气 山水 江河 道路
"""
WORDS = COMMON.split()


def chinese_text(generator: random.Random) -> str:
    """A document of some paragraphs; one in ten holds a link or an address, some full-width digits and quotations."""
    paragraphs = []
    for _ in range(generator.randint(2, 12)):
        sentences = []
        for _ in range(generator.randint(2, 8)):
            clauses = [
                "".join(generator.choices(WORDS, k=generator.randint(3, 10))) for _ in range(generator.randint(1, 4))
            ]
            sentence = "，".join(clauses)
            sentences.append(
                f"“{sentence}”，他说。" if generator.random() < 0.1 else sentence + generator.choice("。。。！？")
            )
        paragraphs.append("".join(sentences))
    if generator.random() < 0.1:
        paragraphs.append(f"详见 https://www.example.com/news/{generator.randrange(10**6)}.html 或 info@example.com。")
    if generator.random() < 0.1:
        paragraphs.append("电话：０１０－１２３４５６７８（周一至周五）……")
    return "\n".join(paragraphs)


def write_corpus(path: Path, megabytes: float) -> None:
    generator = random.Random(0)
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < megabytes * 1e6:
            text = chinese_text(generator)
            written += len(text.encode())
            file.write(json.dumps({"text": text, "source": "web", "id": str(written)}, ensure_ascii=False) + "\n")


def text_megabytes(path: Path) -> float:
    with open(path, encoding="utf-8") as file:
        return sum(len(json.loads(line)["text"].encode()) for line in file) / 1e6


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """CPU seconds of a command and its processes."""
    before = os.times()
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure(engine: list[str], corpus: Path, small: Path, recipe: Path, folder: Path) -> tuple[float, float]:
    """Seconds of the work, and of a start."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "steel_megatron", "clean", "--recipe", str(recipe), "--workers", "1", *engine]
    times = []
    for name, path in (("small", small), ("large", corpus)):
        output = folder / f"{engine[1]}_{name}.jsonl"
        times.append(seconds([*command, "--input", str(path), "--output", str(output)], environment))
    return max(times[1] - times[0], 1e-9), times[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-juicer", default="", metavar="DIR", help="environment with data-juicer")
    parser.add_argument("--megabytes", type=float, default=20, help="text to clean (default: 20)")
    parser.add_argument("--input", metavar="FILE", help="JSON lines of one's own")
    parser.add_argument("--recipe", metavar="YAML", help="a recipe instead of the twelve operations")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-clean-") as name:
        folder = Path(name)
        corpus = Path(args.input) if args.input else folder / "corpus.jsonl"
        if not args.input:
            write_corpus(corpus, args.megabytes)
        small = folder / "one.jsonl"
        with open(corpus, encoding="utf-8") as file:
            small.write_text(file.readline(), encoding="utf-8")
        recipe = Path(args.recipe) if args.recipe else folder / "recipe.yaml"
        if not args.recipe:
            recipe.write_text(yaml.safe_dump({"process": PROCESS}), encoding="utf-8")
        size = text_megabytes(corpus)
        steps = [next(iter(step)) for step in yaml.safe_load(recipe.read_text(encoding="utf-8"))["process"]]
        print(f"{size:.1f} MB of text, {len(steps)} operations: {', '.join(steps)}")
        print(f"{'engine':<12} {'MB/s':>8} {'work':>8} {'start':>8}")
        speeds = {}
        engines = {"native": ["--engine", "native"]}
        if args.data_juicer:
            engines["data-juicer"] = ["--engine", "data-juicer", "--data-juicer", os.path.abspath(args.data_juicer)]
        for engine, flags in engines.items():
            work, start = measure(flags, corpus, small, recipe, folder)
            speeds[engine] = size / work
            print(f"{engine:<12} {speeds[engine]:>8.2f} {work:>8.2f} {start:>8.2f}", flush=True)
        if "data-juicer" in speeds:
            kept = {engine: texts(folder / f"{engine}_large.jsonl") for engine in speeds}
            print(f"native is {speeds['native'] / speeds['data-juicer']:.1f} times as fast as data-juicer")
            same = sum(native == other for native, other in zip(*kept.values(), strict=False))
            print(
                f"documents kept: {', '.join(f'{engine} {len(found):,}' for engine, found in kept.items())}; ", end=""
            )
            print(f"{same:,} of the same text")
        else:
            print("data-juicer is not compared: give --data-juicer DIR")


def texts(path: Path) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


if __name__ == "__main__":
    main()

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.small_tokenizer import small_tokenizer
from steel_megatron.config import ConfigError
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedDataset

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "pretrain_1b"
SMALL = {
    "sources": {
        "skypile": {
            "corpus": "skypile",
            "input": "SkyPile-150B/data",
            "recipe": "recipes/zh_web.yaml",
            "licence": "a | b",
        },
        "wikipedia_cn": {"corpus": "wikipedia_cn", "input": "wikipedia-cn-20230720-filtered", "weight": 2},
        "starcoder": {
            "corpus": "starcoder",
            "recipe": "recipes/code.yaml",
            "input": ["starcoderdata/cpp", "starcoderdata/python"],
            "options": {"pseudo_tags": "comment"},
        },
    },
    "dedup": {"threshold": 0.8, "memory": "1G"},
}


@pytest.fixture
def _scripts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up corpora."""
    folder = tmp_path_factory.mktemp("corpora")
    command = [sys.executable, str(FOLDER / "make_samples.py"), "--output", str(folder), "--records", "40"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all tests of the module."""
    return str(small_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def command() -> list[str]:
    return ["bash", str(FOLDER / "prepare_data.sh")]


def environment(**variables: str) -> dict[str, str]:
    """What prepare_data.sh is called with."""
    names = ("CORPORA", "WORK", "TOKENIZER", "CONFIG", "ONLY", "KEEP_INTERMEDIATE", "IGNORE_DISK", "OVERWRITE", "SMOKE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "HF_HUB_OFFLINE": "1", "WORKERS": "1", **variables}


def prepare(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(), env=environment(**variables), check=False, capture_output=True, text=True)


def steps_run(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^\[\d+/\d+\] ([a-z_ ]+)$", done.stdout, re.MULTILINE)


def hashes(work: Path) -> dict[str, str]:
    return dict(re.findall(r"\| (\S+\.(?:bin|idx)) \| [\d,]+ \| `(\w{64})` \|", card_of(work)))


def card_of(work: Path) -> str:
    return (work / "card" / "DATA_CARD.md").read_text(encoding="utf-8")


def write_config(path: Path, content: Any) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


def test_three_corpora_become_datasets_and_a_card(samples: Path, tokenizer: str, tmp_path: Path) -> None:
    work, config = tmp_path / "work", tmp_path / "data.yaml"
    given = {"SMOKE": "1", "CORPORA": str(samples), "WORK": str(work), "TOKENIZER": tokenizer}
    given["CONFIG"] = write_config(config, SMALL)
    done = prepare(**given, KEEP_INTERMEDIATE="0")
    assert done.returncode == 0, done.stderr
    assert len(steps_run(done)) == 9
    assert [path for path in (work / "convert").iterdir() if path.is_dir()] == []
    assert list((work / "dedup").glob("*/*.zst")) == []

    counts = json.loads((samples / "samples.json").read_text())
    card = card_of(work)
    assert "a \\| b" in card
    assert "**Nothing was decontaminated: no evaluation set was there or given.**" in card
    for name in SMALL["sources"]:
        line = re.search(rf"\| {name} \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (.*) \|", card)
        assert line is not None
        records, kept, rejected = (int(line[place].replace(",", "")) for place in (1, 2, 3))
        others = sum(int(cell) for cell in line[4].split(" | "))
        assert (records, rejected) == (counts[name]["records"], counts[name]["rejects"])
        assert records == kept + rejected + others
    assert "| skypile | dedup | exact |" in card
    assert "| starcoder | dedup | exact | 2 |" in card
    for figure in re.findall(r"!\[.*\]\((.*)\)", card):
        assert (work / "card" / figure).read_text().lstrip().startswith("<?xml")
    phases = yaml.safe_load((work / "phases.yaml").read_text())
    tokens = {
        name: json.loads((work / "data" / f"{name}_text_document.manifest.json").read_text())["tokens"]
        for name in SMALL["sources"]
    }
    assert phases[0]["sources"]["wikipedia_cn"]["weight"] == 2 * tokens["wikipedia_cn"]
    assert phases[0]["sources"]["skypile"]["weight"] == tokens["skypile"]

    before = hashes(work)
    assert len(before) == 6
    again = prepare(**given, KEEP_INTERMEDIATE="0")
    assert (again.returncode, steps_run(again)) == (0, [])


def test_another_setting_does_its_stage_again_when_asked(samples: Path, tokenizer: str, tmp_path: Path) -> None:
    work, config = tmp_path / "work", tmp_path / "data.yaml"
    sources = {name: dict(SMALL["sources"][name]) for name in ("wikipedia_cn", "starcoder")}
    del sources["starcoder"]["recipe"]
    given = {"SMOKE": "1", "CORPORA": str(samples), "WORK": str(work), "TOKENIZER": tokenizer, "CONFIG": str(config)}
    write_config(config, {"sources": sources})
    done = prepare(**given)
    assert done.returncode == 0, done.stderr
    assert steps_run(done)[:2] == ["convert wikipedia_cn", "tokenize wikipedia_cn"]
    before = hashes(work)
    sources["starcoder"] = {**sources["starcoder"], "options": {"pseudo_tags": "remove"}, "weight": 3}
    write_config(config, {"sources": sources})
    refused = prepare(**given)
    assert refused.returncode == 2
    assert "convert starcoder failed" in refused.stderr
    done = prepare(**given, OVERWRITE="1")
    assert done.returncode == 0, done.stderr
    assert steps_run(done) == ["convert starcoder", "tokenize starcoder"]
    assert {name for name, value in hashes(work).items() if before[name] != value} == {
        f"starcoder_text_document.{suffix}" for suffix in ("bin", "idx")
    }


def test_a_source_that_fails_is_named_and_the_others_are_done(samples: Path, tokenizer: str, tmp_path: Path) -> None:
    """With several steps at once, each line says whose it is."""
    work, config = tmp_path / "work", tmp_path / "data.yaml"
    (tmp_path / "damaged.jsonl.gz").write_bytes(b"\x1f\x8b\x08\0 and then nothing")
    sources = {"bad": {"corpus": "jsonl", "input": str(tmp_path / "damaged.jsonl.gz")}}
    sources["wikipedia_cn"] = dict(SMALL["sources"]["wikipedia_cn"])
    given = {"SMOKE": "1", "CORPORA": str(samples), "WORK": str(work), "TOKENIZER": tokenizer, "WORKERS": "2"}
    given["CONFIG"] = write_config(config, {"sources": sources})
    done = prepare(**given)
    assert done.returncode == 2
    assert "error: convert bad failed with status 2; not begun, as they need it: tokenize bad" in done.stderr
    assert re.search(r"^convert bad: error: .*damaged", done.stderr, re.MULTILINE)
    assert re.search(r"^tokenize wikipedia_cn: ", done.stdout, re.MULTILINE)
    assert (work / "data" / "wikipedia_cn_text_document.bin").exists()
    (tmp_path / "damaged.jsonl.gz").write_bytes(
        gzip.compress(b'{"text": "mended, and long enough to train on"}\n' * 99)
    )
    done = prepare(**given)
    assert done.returncode == 0, done.stderr
    assert sorted(steps_run(done)) == ["convert bad", "tokenize bad"]


def test_what_is_missing_is_named_first(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    given = {"CORPORA": str(tmp_path / "raw"), "WORK": str(tmp_path / "work"), "TOKENIZER": str(tmp_path / "raw")}
    for name in given:
        done = prepare(**{key: value for key, value in given.items() if key != name})
        assert (done.returncode, f"{name} is not set" in done.stderr) == (2, True)
    for name in ("CORPORA", "TOKENIZER"):
        assert "nowhere" in prepare(**{**given, name: str(tmp_path / "nowhere")}).stderr
    assert "no configuration at" in prepare(**given, CONFIG=str(tmp_path / "no.yaml")).stderr
    done = prepare(**given)
    assert done.returncode == 2
    assert f"skypile: {tmp_path}/raw/SkyPile-150B/data" in done.stderr
    assert not (tmp_path / "work" / "convert").exists()


@pytest.mark.usefixtures("_scripts_are_found")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "no sources"),
        ({"sources": {"a": {"corpus": "text"}}}, "source 'a' has no input"),
        ({"sources": {"a": {"corpus": "text", "input": "x", "recepe": "y"}}}, "unknown key 'recepe'"),
        ({"sources": {"a": {"corpus": "text", "input": "x", "weight": 0}}}, "weight 0"),
        ({"sources": {"a/b": {"corpus": "text", "input": "x"}}}, "it has no /"),
        ({"sources": {"a": {"corpus": "text", "input": "x"}}, "dedup": {"treshold": 1}}, "unknown key 'treshold'"),
        ({"sources": {"b": {"corpus": "text", "input": "x"}}}, "ONLY names 'a'"),
    ],
)
def test_a_wrong_configuration_is_told(content: Any, says: str, tmp_path: Path) -> None:
    from data_config import read_config

    path = tmp_path / "data.yaml"
    write_config(path, content)
    with pytest.raises(ConfigError, match=re.escape(says)):
        read_config(path, tmp_path, ["a"] if "ONLY" in says else [])


@pytest.mark.usefixtures("_scripts_are_found")
def test_evaluation_sets_are_looked_for_where_they_are_and_told_where_not(tmp_path: Path) -> None:
    from data_config import read_config
    from data_pipeline import pipeline

    config = read_config(FOLDER / "data.yaml", tmp_path, [])
    assert config.dedup is not None
    says = config.dedup.told()
    assert [name in line for name, line in zip(("ceval", "cmmlu", "mmlu"), says, strict=False)] == [True] * 3
    assert "Nothing was decontaminated" in says[3]
    step = next(step for step in pipeline(config, tmp_path, "t", 1)["skypile"] if step.name == "dedup")
    assert "--decontaminate" not in step.flags
    question = "下列选项中，最能说明水的沸点随气压降低而降低的现象是哪一项"
    for name, head, row in (
        ("ceval-exam/val/physics_val.csv", "id,question,A,B,C,D,answer", f"0,{question},煮饭,结冰,起雾,霜,A"),
        ("cmmlu/test/agronomy.csv", ",Question,A,B,C,D,Answer", f"0,{question}吗,煮饭,结冰,起雾,霜,A"),
    ):
        path = tmp_path / "evaluation" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{head}\n{row}\n", encoding="utf-8")
    assert [("mmlu" in line) for line in config.dedup.told()] == [True]
    step = next(step for step in pipeline(config, tmp_path, "t", 1)["skypile"] if step.name == "dedup")
    sets = step.flags[step.flags.index("--decontaminate") + 1 :]
    assert [given.partition("=")[0] for given in sets] == ["ceval", "cmmlu"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in (f"练习题。{question}？" * 2, "高原上煮饭")]
    (tmp_path / "web.jsonl").write_text("\n".join(lines), encoding="utf-8")
    given = [SourceInput.parse(name, "--decontaminate") for name in sets]
    done = deduplicate([SourceInput("web", str(tmp_path / "web.jsonl"))], tmp_path / "out", evaluation_sets=given)
    assert done.report["sources"]["web"]["contaminated"] == 1


@pytest.mark.usefixtures("_scripts_are_found")
def test_the_configuration_takes_all_samples(samples: Path) -> None:
    from data_config import read_config
    from data_steps import files_of

    config = read_config(FOLDER / "data.yaml", samples, [])
    assert {source.name for source in config.sources} == set(json.loads((samples / "samples.json").read_text()))
    taken = sorted(file.path for source in config.sources for file in files_of(list(source.inputs)))
    assert taken == sorted(str(path) for path in samples.rglob("*") if path.is_file() and path.name != "samples.json")


@pytest.mark.slow
def test_text_that_was_removed_is_made_again_when_it_is_needed(samples: Path, tokenizer: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    config = write_config(tmp_path / "data.yaml", SMALL)
    given = {"SMOKE": "1", "CORPORA": str(samples), "WORK": str(work), "TOKENIZER": tokenizer, "CONFIG": config}
    assert prepare(**given, KEEP_INTERMEDIATE="0").returncode == 0
    before = hashes(work)
    (work / "data" / "skypile_text_document.bin").unlink()
    again = prepare(**given, KEEP_INTERMEDIATE="0")
    assert again.returncode == 0, again.stderr
    assert steps_run(again)[-2:] == ["dedup", "tokenize skypile"]
    assert hashes(work) == before
    assert list((work / "dedup").glob("*/*.zst")) == []


@pytest.mark.slow
def test_smoke_killed_and_continued(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with subprocess.Popen(command(), env=environment(SMOKE="1", WORK=str(work)), start_new_session=True) as process:
        while not (work / "steps" / "clean.belle.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    done = prepare(SMOKE="1", WORK=str(work))
    assert done.returncode == 0, done.stderr
    assert "clean belle" not in steps_run(done)
    counts = json.loads((work / "samples" / "samples.json").read_text())
    for name, count in counts.items():
        manifest = json.loads((work / "convert" / f"{name}.manifest.json").read_text())
        assert (manifest["records"], sum(manifest["rejects"].values())) == (count["records"], count["rejects"]), name
    card = card_of(work)
    assert len(hashes(work)) == 2 * len(counts)
    for line in (
        "| skypile | clean | alphanumeric_filter: alnum_ratio below 0.5 | 2 |",
        "| skypile | dedup | near |",
        "| zhihu_kol | convert |",
    ):
        assert line in card

    # Marks of the chat template are control tokens, the same words in a web page are not.
    end = build_tokenizer(None, str(work / "tokenizer")).special_tokens["<|im_end|>"]
    marks = {
        name: int((IndexedDataset(work / "data" / f"{name}_text_document").tokens == end).sum()) for name in counts
    }
    assert marks["skypile"] == marks["wanjuan_zh"] == 0
    assert marks["moss"] >= 3 * 120  # system, user and assistant in each of the conversations

    small = "--num-layers 1 --hidden-size 32 --ffn-hidden-size 64 --num-attention-heads 2 --num-query-groups 1"
    small += " --kv-channels 16 --seq-length 64 --micro-batch-size 4 --global-batch-size 8 --train-iters 3 --device cpu"
    train = [sys.executable, "-m", "steel_megatron", "train", "--config", str(FOLDER / "steel_1b.yaml")]
    train += ["--phases", str(work / "phases.yaml"), "--tokenizer-model", str(work / "tokenizer")]
    train += [*small.split(), "--lr-warmup-iters", "1", "--split", "90,10", "--eval-iters", "1"]
    subprocess.run([*train, "--save", str(tmp_path / "run")], check=True, cwd=ROOT)

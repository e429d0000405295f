"""Whole runs: what is written, counted and listed, whatever the records hold."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import zstandard

from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.cleaning import clean, read_drops, read_recipe, run_data_juicer
from steel_megatron.corpus.cleaning import run as run_module

RECIPES = Path(__file__).parents[3] / "recipes"
RECIPE = """
process:
  - clean_links_mapper:
  - whitespace_normalization_mapper
  - text_length_filter: {min_len: 5}
  - special_characters_filter: {max_ratio: 0.4}
"""


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def write_lines(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"
    )
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    if path.name.endswith(".zst"):
        data = b"".join(iter(zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read1, b""))
    return [json.loads(line) for line in data.splitlines()]


def records(count: int) -> list[Any]:
    made: list[Any] = []
    for i in range(count):
        text = ["一段足够长的中文，见 http://a.cn/b。", "短", "!!!!!!!!!!!!", "plain enough text"][i % 4]
        made.append({"text": text, "source": f"s{i % 3}", "id": str(i), "kept": [i]})
    return made


def test_every_record_is_kept_or_listed(tmp_path: Path, recipe_path: Path) -> None:
    bad = [b"{bad", b'"text"', {"id": "a"}, {"text": None}, {"text": 3}, {"text": "x" * 9, "control": [[4, 2]]}]
    halves = b'{"text": "half \\ud800 pair is no text"}'
    blank = b'{"text": "http://only.a/link"}'
    lines = [*records(8), *bad, b"\xff\xfe", halves, blank, b"  "]
    source = write_lines(tmp_path / "in.jsonl", lines)
    output = tmp_path / "out.jsonl"
    done = clean(read_recipe(str(recipe_path)), [source], output)
    kept = read_lines(output)
    assert [record["id"] for record in kept] == ["0", "3", "4", "7"]
    assert kept[0] == {"text": "一段足够长的中文，见", "source": "s0", "id": "0", "kept": [0]}
    report = done.report
    assert report["records"] == len(lines) - 1 == report["documents"] + report["dropped"]
    drops = list(read_drops(output))
    assert len(drops) == report["dropped"]
    reasons = {drop["reason"] for drop in drops if drop["operation"] == "read"}
    assert reasons >= {
        "bad_json",
        "not_an_object",
        "missing_field",
        "null_field",
        "not_a_string",
        "bad_control",
        "lone_surrogate",
    }
    (short,) = [drop for drop in drops if drop["id"] == "1"]
    assert short["detail"] == "text_len 1 below 5"
    assert source.read_bytes()[short["byte"] :].startswith(json.dumps(records(2)[1]).encode())
    assert [drop["id"] for drop in read_drops(output, "special_characters_filter")] == ["2", "6"]


def test_the_report_adds_up_and_shows_the_texts(tmp_path: Path, recipe_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [*records(40), {"text": "<b>!!!</b>!!!!!!", "source": "<s>"}])
    output = tmp_path / "out.jsonl"
    report = clean(read_recipe(str(recipe_path)), [source], output, tokenizer="characters", count_tokens=len).report
    assert json.loads((tmp_path / "out.jsonl.report.json").read_text(encoding="utf-8")) == report
    for step, following in zip(report["operations"], report["operations"][1:], strict=False):
        assert step["out"] == following["in"]
        assert step["in"]["tokens"] == step["in"]["characters"]
    assert sum(source["out"]["documents"] for source in report["sources"].values()) == report["documents"] == 20
    length = report["operations"][2]["statistic"]
    assert sum(count for _, _, count in length["histogram"]) == 41
    assert (length["low"], length["high"]) == (5, None)
    assert len(report["samples"]["text_length_filter"]) == 10
    assert report["reasons"]["text_length_filter"] == {"text_len below 5": 10}
    page = (tmp_path / "out.jsonl.report.html").read_text(encoding="utf-8")
    assert "min 5" in page
    assert "&lt;b&gt;!!!" in page
    assert "<b>!!!" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http://a.cn/b", "")


def test_marks_stay_and_move_along(tmp_path: Path, recipe_path: Path) -> None:
    mark = "<|im_start|>"
    pieces = [mark, "user\n看 http://a.cn/b 这里的一段足够长的普通中文，还有 <|im_start|>", "<|im_end|>", "\n"]
    text = "".join(pieces)
    control = [[0, len(mark)], [len(pieces[0] + pieces[1]), len(pieces[0] + pieces[1] + pieces[2])]]
    source = write_lines(
        tmp_path / "in.jsonl", [{"text": text, "control": control}, {"text": mark, "control": [[0, 12]]}]
    )
    clean(read_recipe(str(recipe_path)), [source], tmp_path / "out.jsonl")
    (kept,) = read_lines(tmp_path / "out.jsonl")
    assert kept["text"] == "<|im_start|>user\n看  这里的一段足够长的普通中文，还有 <|im_start|><|im_end|>\n"
    assert [kept["text"][start:stop] for start, stop in kept["control"]] == ["<|im_start|>", "<|im_end|>"]
    (drop,) = read_drops(tmp_path / "out.jsonl")
    assert drop["detail"] == "text_len 0 below 5"  # without the mark


def test_same_bytes_for_any_number_of_workers(tmp_path: Path, recipe_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", records(400))
    recipe = read_recipe(str(recipe_path))
    for workers in (1, 2):
        output = tmp_path / str(workers) / "out.jsonl.zst"
        clean(recipe, [source], output, workers=workers, part_bytes=4000)
    made = [{path.name: path.read_bytes() for path in (tmp_path / str(n)).iterdir()} for n in (1, 2)]
    assert len(made[0]) == 5
    assert made[0] == made[1]
    assert len(read_lines(tmp_path / "1" / "out.jsonl.zst")) == 200


def test_a_stopped_run_goes_on(tmp_path: Path, recipe_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "in.jsonl", records(400))
    recipe, output = read_recipe(str(recipe_path)), tmp_path / "out.jsonl"
    real, calls = run_module.clean_part, []

    def stops(job: Any, part: Any) -> Any:
        calls.append(part.start)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(job, part)

    monkeypatch.setattr(run_module, "clean_part", stops)
    with pytest.raises(KeyboardInterrupt):
        clean(recipe, [source], output, part_bytes=4000)
    assert not output.exists()
    first = list(calls)
    clean(recipe, [source], output, part_bytes=4000)
    assert calls[4] == first[3]
    assert len(set(calls)) == len(calls) - 1
    assert not (tmp_path / "out.jsonl.parts").exists()
    assert clean(recipe, [source], output).done_before
    report = tmp_path / "out.jsonl.report.json"
    content = report.read_bytes()
    report.unlink()
    with pytest.raises(DataError, match="its report is not there"):
        clean(recipe, [source], output)
    report.write_bytes(content)
    write_lines(source, records(3))
    with pytest.raises(DataError, match="other files"):
        clean(recipe, [source], output)
    assert clean(recipe, [source], output, overwrite=True).report["records"] == 3


def test_an_operation_that_fails_costs_one_document(
    tmp_path: Path, recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steel_megatron.corpus.cleaning.filters import TextLength

    def fails(self: TextLength, text: Any) -> float:
        if "boom" in str(text):
            raise ZeroDivisionError("no")
        return float(len(text))

    monkeypatch.setattr(TextLength, "measure", fails)
    source = write_lines(tmp_path / "in.jsonl", [{"text": "a boom, really"}, {"text": "all is well"}])
    report = clean(read_recipe(str(recipe_path)), [source], tmp_path / "out.jsonl").report
    assert (report["documents"], report["failures"]) == (1, 1)
    assert report["reasons"] == {"text_length_filter": {"failed": 1}}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = write_lines(tmp_path / "in.jsonl", records(4)), tmp_path / "out.jsonl"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"dataset_path: {source}\nexport_path: {output}\n{RECIPE}")
    assert main(["clean", "--recipe", str(recipe)]) == 0
    assert "2 of 4 documents" in capsys.readouterr().out
    assert main(["clean", "--list-drops", str(output), "--operation", "text_length_filter"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "1"
    assert main(["clean", "--recipe", str(recipe), "--output", str(tmp_path / "x.txt")]) == 2
    assert main(["clean"]) == 2


def test_data_juicer_gets_the_recipe(tmp_path: Path, recipe_path: Path) -> None:
    source, output = write_lines(tmp_path / "in.jsonl", records(4)), tmp_path / "out.jsonl"
    recipe = read_recipe(str(recipe_path))
    with pytest.raises(ConfigError, match="install_data_juicer"):
        run_data_juicer(recipe, [str(source)], output, environment=str(tmp_path))
    program = tmp_path / "bin" / "dj-process"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncp "$2" {tmp_path}/seen.yaml\ncp {source} {output}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    run_data_juicer(recipe, [str(source)], output, environment=str(tmp_path), workers=2, ray_address="auto")
    seen = (tmp_path / "seen.yaml").read_text()
    for line in ("executor_type: ray", "ray_address: auto", "np: 2", f"path: {source}", f"export_path: {output}"):
        assert line in seen
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(DataError, match="there already"):
        run_data_juicer(recipe, [str(source)], output, environment=str(tmp_path))
    with pytest.raises(DataError, match="status 3"):
        run_data_juicer(recipe, [str(source)], output, environment=str(tmp_path), overwrite=True)


CODE = """#include <stdio.h>

int main(void) {
\tconst char *name = "world";
\tprintf("hello %s\\n", name);
\treturn 0;
}
"""
PARAGRAPH = (
    "北京是中国的首都，也是全国的政治、文化中心（常住人口超过两千万）。这座城市有三千多年的建城史，元、明、清三代都在此建都；"
    "城中的“中轴线”自南向北贯穿，全长约七点八公里。春天多风，夏季炎热多雨，秋天最为宜人，冬天寒冷干燥！"
    "老舍笔下的胡同、四合院与茶馆，至今仍能在什刹海一带找到影子。地铁每天运送上千万乘客，早晚高峰尤其拥挤？"
    "许多大学坐落在海淀区，附近的科技公司吸引着各地的年轻人前来求职。"
)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [("code", CODE), ("zh_web", PARAGRAPH), ("zh_qa", PARAGRAPH), ("zh_qa", "问：一加一等于几？\n答：等于二。")],
)
def test_shipped_recipes_leave_good_texts_as_they_are(tmp_path: Path, recipe: str, text: str) -> None:
    for package in ("opencc", "selectolax"):
        pytest.importorskip(package)
    source = write_lines(tmp_path / "in.jsonl", [{"text": text}])
    clean(read_recipe(str(RECIPES / f"{recipe}.yaml")), [source], tmp_path / "out.jsonl")
    assert [record["text"] for record in read_lines(tmp_path / "out.jsonl")] == [text]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_shipped_recipes_drop_noise(tmp_path: Path, recipe: str) -> None:
    for package in ("opencc", "selectolax"):
        pytest.importorskip(package)
    noise = ["★☆" * 50, "顶顶顶顶顶顶顶顶" * 100, "。", "= = = = =\n" * 40]
    source = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in noise])
    assert (
        clean(read_recipe(str(RECIPES / f"{recipe}.yaml")), [source], tmp_path / "out.jsonl").report["documents"] == 0
    )


@pytest.mark.parametrize("processes", ["0", "-1", "true", ".nan", "1e9", "2000"])
def test_the_number_of_processes_has_a_range(tmp_path: Path, processes: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"np: {processes}\nprocess: [{{text_length_filter: {{min_len: 1}}}}]\n")
    with pytest.raises(ConfigError, match="1 to 1024"):
        read_recipe(str(recipe))

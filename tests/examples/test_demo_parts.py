"""The demo's own pieces; the demo as a whole is `make demo`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.corpus import convert_corpus

DEMO = Path(__file__).parents[2] / "examples" / "demo"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DEMO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metrics(steps: range, seconds: float) -> list[dict[str, Any]]:
    return [
        {"step": step, "loss": 9.0 - step / 10, "step_seconds": seconds, "valid_loss": 9.0 - step / 10}
        if step % 5 == 0
        else {"step": step, "loss": 9.0 - step / 10, "step_seconds": seconds}
        for step in steps
    ]


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_collected_code_is_what_the_starcoder_corpus_reads(tmp_path: Path) -> None:
    collect = script("collect_text")
    library = tmp_path / "lib"
    sources = {"a.py": "import os\n", "b.py": "x = 1\r\n", "sub/c.py": "# 注释\n", "test/d.py": "left out\n"}
    for name, content in sources.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(content.encode())
    (library / "latin.py").write_bytes(b"# coding: latin-1\n# \xe9\n")
    (library / "broken.py").write_bytes(b"\xff\xfe")
    files = collect.source_files(library)
    path = tmp_path / "code" / "python" / "train-00000-of-00001.parquet"
    assert collect.write_code(path, library, files) == 4
    done = convert_corpus("starcoder", [tmp_path / "code"], tmp_path / "code.jsonl")
    texts = [document["text"] for document in read_json_lines(done.output)]
    assert texts == ["import os\n", "x = 1\n", "# coding: latin-1\n# é\n", "# 注释\n"]


def test_documents_are_cut_into_sections_by_language(tmp_path: Path) -> None:
    collect = script("collect_text")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A\nintro\n## B\ntext\n### C\nmore\n")
    (tmp_path / "docs" / "x.zh-CN.md").write_text("## 一\n正文\n")
    found = collect.documents(tmp_path)
    assert [record["text"] for record in found["en"]] == ["# A\nintro\n", "## B\ntext\n### C\nmore\n"]
    assert found["zh"] == [{"id": "docs/x.zh-CN.md#1", "text": "## 一\n正文\n"}]


def test_this_repository_has_documents_of_both_languages() -> None:
    found = script("collect_text").documents(DEMO.parents[1])
    assert found["en"]
    assert found["zh"]


def test_the_kill_reaches_every_process(tmp_path: Path) -> None:
    worker = f"""
import json, os, subprocess, sys, time
from pathlib import Path
folder = Path({str(tmp_path)!r})
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
(folder / f"pid.{{len(sys.argv)}}").write_text(str(os.getpid()))
for step in range(1, 2000):
    if len(sys.argv) == 2:
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({{"step": step}}) + "\\n")
    time.sleep(0.02)
"""
    (tmp_path / "worker.py").write_text(worker)
    metrics_path, record = tmp_path / "metrics.jsonl", tmp_path / "killed.jsonl"
    command = [sys.executable, str(DEMO / "kill_at_step.py"), "--metrics", str(metrics_path), "--step", "5"]
    command += ["--record", str(record), "--", sys.executable, str(tmp_path / "worker.py")]
    assert subprocess.run(command, check=False).returncode == 0
    assert [row["step"] for row in read_json_lines(record)][:5] == [1, 2, 3, 4, 5]
    pids = [int((tmp_path / f"pid.{count}").read_text()) for count in (1, 2)]
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process outlived the kill"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie that nobody has collected yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_command_that_ends_before_the_kill_is_a_failure(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO / "kill_at_step.py"), "--metrics", str(tmp_path / "none"), "--step", "5"]
    command += ["--record", str(tmp_path / "killed.jsonl"), "--", sys.executable, "-c", "raise SystemExit(3)"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "ended by itself before step 5" in done.stderr


def test_report_of_a_run_that_was_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    report = script("report")
    before = metrics(range(1, 14), seconds=1.0)
    rows = before[:10] + metrics(range(11, 21), seconds=2.0)
    write_metrics(tmp_path / "run" / "metrics.jsonl", rows)
    killed = write_metrics(tmp_path / "killed.jsonl", before)
    assert report.kill_summary(rows, before) == [
        "killed at step 13; metrics hold every step from 1 to 20 once",
        "steps 11 to 13 were computed twice, before and after the kill, with the same loss to the last bit",
    ]
    assert report.loss_summary(rows)[1].startswith("validation loss 8.500 at step 5 → 7.000 at step 20")
    picture = tmp_path / "loss.png"
    arguments = ["report.py", "--run", str(tmp_path / "run"), "--killed", str(killed), "--output", str(picture)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert report.main() == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_report_sees_what_a_kill_cost() -> None:
    report = script("report")
    before = metrics(range(1, 14), seconds=1.0)
    rows = before[:10] + metrics(range(11, 21), seconds=2.0)
    rows[11] = {**rows[11], "loss": rows[11]["loss"] + 0.25}
    assert "losses that differ by at most 0.25" in report.kill_summary(rows, before)[1]
    with pytest.raises(ValueError, match="do not hold each step once"):
        report.kill_summary(rows[:5] + rows[7:], before)


def test_the_faster_precision_is_taken_and_as_many_steps_as_fit(choose_run: ModuleType) -> None:
    fp32, bf16 = choose_run.Measured("fp32", 1.5, 0.5), choose_run.Measured("bf16", 30.0, 0.5)
    choice = choose_run.choose([fp32, bf16], left=280.0)
    assert choice.precision == "fp32"
    assert choice.size == choose_run.SIZES[0]
    assert choice.seconds <= 280.0 < choose_run.seconds(choice.steps + 1, 1.5, 0.5)
    assert choose_run.choose([fp32, bf16._replace(step=0.1)], left=280.0)[:2] == ("bf16", choose_run.MOST_STEPS)


def test_a_slow_machine_gets_a_smaller_run_and_is_told_so(choose_run: ModuleType) -> None:
    slow = [choose_run.Measured("fp32", 16.0, 1.0)]
    choice = choose_run.choose(slow, left=300.0)
    assert choice.size == choose_run.SIZES[2]
    assert choice.steps >= choose_run.FEW_STEPS
    assert choice.seconds <= 300.0
    assert (
        "this machine is slow: sequences of 64 tokens instead of 256"
        in choose_run.reasons(slow, choice, 60.0, 300.0)[2]
    )
    choice = choose_run.choose(slow, left=-20.0)
    assert choice.steps == choose_run.LEAST_STEPS
    assert "longer than the time that is left" in choose_run.reasons(slow, choice, 60.0, -20.0)[-1]


def test_steps_that_were_asked_for_are_trained_at_full_size(choose_run: ModuleType) -> None:
    choice = choose_run.choose([choose_run.Measured("fp32", 9.0, 1.0)], left=10.0, steps=2000)
    assert (choice.steps, choice.size) == (2000, choose_run.SIZES[0])


@pytest.mark.parametrize("steps", [16, 17, 40, 63, 119, 240, 2000])
def test_a_kill_finds_a_line_between_two_checkpoints(choose_run: ModuleType, steps: int) -> None:
    interval, lines = steps // choose_run.PARTS, choose_run.log_interval(steps)
    kill = choose_run.kill_step(steps)
    written = kill + -kill % lines
    assert kill % interval
    assert kill // interval == (written - 1) // interval, "the next checkpoint comes before the line"


def test_the_choice_is_read_by_the_shell(choose_run: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "run" / "choice.sh"
    choose_run.write(choose_run.Choice("fp32", 100, choose_run.SIZES[1], 1.0), path)
    command = (
        f'. {path} && echo "$PRECISION $STEPS $SEQ_LENGTH $NUM_LAYERS $EVAL_ITERS $INTERVAL $LOG_INTERVAL $KILL_STEP"'
    )
    printed = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["fp32", "100", "128", "8", "1", "12", "2", "54"]


def test_a_precision_far_slower_than_the_first_is_not_waited_for(choose_run: ModuleType, tmp_path: Path) -> None:
    worker = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--save") + 1])
for precision in ("fp32", "bf16"):
    (folder / precision).mkdir()
    with open(folder / precision / "metrics.jsonl", "w") as file:
        for step in range(1, 4):
            if precision == "bf16":
                time.sleep(600)
            file.write(json.dumps({"step": step, "step_seconds": 0.01 * step}) + "\\n")
    with open(folder / "ended.jsonl", "a") as file:
        file.write(json.dumps({"precision": precision, "begun": 100.0, "stepped": 101.0, "ended": 101.5}) + "\\n")
"""
    (tmp_path / "worker.py").write_text(worker)
    command = [sys.executable, str(tmp_path / "worker.py")]
    choose_run.LEAST_PATIENCE = 0.5
    measured, begun = choose_run.probe(command, tmp_path / "probe", ["fp32", "bf16"])
    assert measured == [choose_run.Measured("fp32", pytest.approx(0.025), 0.5)]
    assert begun == 100.0


def test_a_probe_that_fails_shows_what_it_printed(
    choose_run: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such data')"]
    assert choose_run.probe(command, tmp_path / "probe", ["fp32"])[0] == []
    assert "no such data" in capfd.readouterr().err


@pytest.fixture
def choose_run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DEMO))  # as Python does for a script
    return script("choose_run")

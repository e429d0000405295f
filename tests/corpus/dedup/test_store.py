"""A source that comes later is compared with what is there, as if all had come at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.dedup_runs import contents, fallen, kept_ids, run_dedup, write_source
from helpers.planted_duplicates import plant
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import DedupSettings, run
from steel_megatron.corpus.dedup.store import MANIFEST, STAY
from steel_megatron.jobs.locks import locked

TEXTS = [document.text for document in plant(18, 11, chinese=True, units=(60, 200))]
SOURCES = {name: [*TEXTS[at::3], TEXTS[at], "相同的短文"] for at, name in enumerate("abc")}


@pytest.mark.parametrize("settings", [DedupSettings(), DedupSettings(exact_only=True), DedupSettings(against="any")])
@pytest.mark.parametrize("workers", [1, 2])
def test_one_after_the_other_is_as_all_at_once(
    tmp_path: Path, settings: DedupSettings, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BYTES_PER_WORKER", 1)
    monkeypatch.setattr(run, "DOCUMENTS_PER_WORKER", 50)
    whole = run_dedup(tmp_path, SOURCES, output="whole", settings=settings)
    apart = [
        run_dedup(
            tmp_path, {name: texts}, output=name, settings=settings, workers=workers, signatures=tmp_path / "kept"
        )
        for name, texts in SOURCES.items()
    ]
    expected = fallen(whole)
    assert any(entry["input"] != entry["kept_input"] for entry in expected.values())
    found = {name: entry for done in apart for name, entry in fallen(done).items()}
    if settings.against == "any":  # what stayed before stays, also where a later document joins its group to another
        assert found.keys() <= expected.keys()
        assert {name for name in expected if name[0] == "c"} == {name for name in found if name[0] == "c"}
        return
    assert found == expected
    for name in SOURCES:
        assert contents(tmp_path / name / name) == contents(tmp_path / "whole" / name)


def test_the_same_run_again_is_not_compared_with_itself(tmp_path: Path) -> None:
    store = tmp_path / "kept"
    first = run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", signatures=store)
    run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=store)
    before = contents(store)
    assert run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", signatures=store).done_before
    again = run_dedup(tmp_path, {"a": SOURCES["a"]}, output="copy", signatures=store)
    assert kept_ids(again) == kept_ids(first)
    assert contents(store) == before
    assert {path.name for path in store.iterdir()} == {"000000", "000001", "lock"}


def test_a_run_that_replaces_an_output_replaces_its_signatures(tmp_path: Path) -> None:
    store = tmp_path / "kept"
    run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", signatures=store)
    with pytest.raises(DataError, match="signatures of another run that wrote"):
        run_dedup(tmp_path, {"a": SOURCES["b"]}, output="one", signatures=store)
    done = run_dedup(tmp_path, {"a": SOURCES["b"]}, output="one", signatures=store, overwrite=True)
    assert kept_ids(done)
    assert len(list(store.glob("0*"))) == 1
    run_dedup(tmp_path, {"c": SOURCES["c"]}, output="two", signatures=store)
    with pytest.raises(DataError, match="later runs were compared with it"):
        run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", signatures=store, overwrite=True)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "kept"
    exact = DedupSettings(exact_only=True)
    run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", signatures=store, settings=exact)
    with pytest.raises(DataError, match="no signatures of near duplicates"):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=store)
    with pytest.raises(DataError, match="no signatures of the run in"):
        run_dedup(tmp_path, {"a": SOURCES["a"]}, output="one", settings=exact, signatures=tmp_path / "new")
    with locked(store / "lock", store), pytest.raises(DataError, match="another run"):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=store, settings=exact)
    manifest = json.loads((store / "000000" / MANIFEST).read_bytes())
    (store / "000000" / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(DataError, match="signatures of format 1"):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=store, settings=exact)
    (store / "000000" / MANIFEST).write_text(json.dumps(manifest))
    os.truncate(store / "000000" / STAY, 3)
    with pytest.raises(DataError, match=r"stay\.u32 has not"):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=store, settings=exact)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((DataError, OSError)):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="loop", settings=exact)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=tmp_path / "file")


PROGRAM = """
import sys
from pathlib import Path
from steel_megatron.corpus.dedup import SourceInput, deduplicate, store
if sys.argv[4] == "inside":
    store.write_json = lambda *given: (print("here", flush=True), sys.stdin.read())
else:
    from steel_megatron.corpus.dedup import run
    run.make_report = lambda *given: (print("here", flush=True), sys.stdin.read())
deduplicate([SourceInput("b", sys.argv[1])], sys.argv[2], signatures=sys.argv[3])
"""


@pytest.mark.parametrize("place", ["inside", "behind"])
def test_killed_while_signatures_are_kept(tmp_path: Path, place: str) -> None:
    for kept, output in (("kept", "one"), ("other", "other_one")):
        run_dedup(tmp_path, {"a": SOURCES["a"]}, output=output, signatures=tmp_path / kept)
    whole = run_dedup(tmp_path, {"b": SOURCES["b"]}, output="whole", signatures=tmp_path / "other")
    source = write_source(tmp_path, "b", SOURCES["b"])
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "two"), str(tmp_path / "kept"), place]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "kept" / "000001").exists() == (place == "behind")
    done = run_dedup(tmp_path, {"b": SOURCES["b"]}, output="two", signatures=tmp_path / "kept")
    assert contents(done.output) == contents(whole.output)
    made, wanted = (contents(tmp_path / kept / "000001") for kept in ("kept", "other"))
    assert {**made, MANIFEST: b""} == {**wanted, MANIFEST: b""}

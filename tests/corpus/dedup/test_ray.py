"""The stages as tasks of a local Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.dedup_runs import contents, write_source
from helpers.planted_duplicates import plant
from steel_megatron.corpus.dedup import SourceInput, deduplicate

PROGRAM = (
    "import sys; from steel_megatron.corpus.dedup import SourceInput, deduplicate\n"
    "deduplicate([SourceInput('s', sys.argv[1])], sys.argv[2], engine='ray', workers=2, part_bytes=1 << 14)"
)


@pytest.mark.slow
def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install ray")
    source = write_source(tmp_path, "s", [document.text for document in plant(9, 3, chinese=True, units=(60, 200))])
    local = deduplicate([SourceInput("s", str(source))], tmp_path / "local", part_bytes=1 << 14)
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "ray")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    subprocess.run(command, check=True, timeout=300, env=environment)
    assert contents(tmp_path / "ray") == contents(local.output)

"""The index of packed samples: made once, named after what it is of, made again if cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.megatron_files import write_megatron
from helpers.processes import run_processes
from steel_megatron.config import ConfigError
from steel_megatron.samples.sources import PackingOptions, open_source


def open_at_once(prefix: str) -> int:
    return len(open_source("data", prefix, 8, None, packing=PackingOptions(best_fit=True)).windows["train"])


def test_the_index_is_made_once_named_after_what_it_is_of_and_made_again_if_cut(tmp_path: Path) -> None:
    prefix = write_megatron(tmp_path / "data", [[[1] * n] for n in range(1, 30)], "int32")
    sizes = run_processes(open_at_once, 3, prefix, init_group=False)
    (index,) = tmp_path.glob("*.packing*")
    assert sizes == [open_at_once(prefix)] * 3
    content = index.read_bytes()
    index.write_bytes(content[:-4])
    assert open_at_once(prefix) == sizes[0]
    assert index.read_bytes() == content
    write_megatron(tmp_path / "data", [[[2] * n] for n in range(1, 30)], "int32")
    open_at_once(prefix)
    assert len(list(tmp_path.glob("*.packing"))) == 2
    cache = PackingOptions(best_fit=True, cache=str(tmp_path / "cache"))
    open_source("data", prefix, 8, None, packing=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--data-cache-path"):
        open_source("data", prefix, 8, None, packing=PackingOptions(best_fit=True, cache=str(tmp_path / "file")))

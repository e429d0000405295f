"""Hands a recipe to data-juicer, installed apart in its own environment, on one machine or on Ray."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.jobs.durable import refuse_other

INSTALL = "bash tools/preprocess/install_data_juicer.sh DIR"


def find_data_juicer(environment: str) -> Path:
    """``dj-process`` of a virtual environment.

    Raises:
        ConfigError: it is not there.
    """
    program = Path(environment) / "bin" / "dj-process"
    if not environment or not program.is_file():
        raise ConfigError(
            f"--data-juicer {environment or 'not given'}: no bin/dj-process there",
            rule="data-juicer is installed apart, in its own virtual environment",
            fix=f"make one with {INSTALL}, and give --data-juicer DIR",
        )
    return program


def data_juicer_recipe(
    recipe: Recipe, inputs: Sequence[str], output: Path, workers: int, ray_address: str | None
) -> dict[str, Any]:
    """The recipe as data-juicer gets it: ours with the paths and workers put in."""
    content = {key: value for key, value in recipe.content.items() if key not in ("dataset_path", "dataset")}
    content.setdefault("project_name", "steel_clean")
    content["dataset"] = {"configs": [{"type": "local", "path": os.path.abspath(path)} for path in inputs]}
    content["export_path"] = os.path.abspath(output)
    content["np"] = workers
    if ray_address is not None:
        content["executor_type"] = "ray"
        content["ray_address"] = ray_address
    return content


def run_data_juicer(
    recipe: Recipe,
    inputs: Sequence[str],
    output: Path,
    *,
    environment: str,
    workers: int = 1,
    ray_address: str | None = None,
    overwrite: bool = False,
) -> None:
    """Runs data-juicer to its end. Its output, cache and messages are its own; no report of ours is written.

    Args:
        output: a file; in Ray mode data-juicer makes a folder of files of it.
        ray_address: a cluster, ``auto`` to find one, ``local`` to start one; None: without Ray.

    Raises:
        ConfigError: data-juicer is not there.
        DataError: an output is there already, or data-juicer failed; its messages stand above.
    """
    program = find_data_juicer(environment)
    if output.exists() and not overwrite:
        refuse_other(output)
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="steel-clean-") as folder:
        path = Path(folder) / "recipe.yaml"
        content = data_juicer_recipe(recipe, inputs, output, workers, ray_address)
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
        status = subprocess.run([str(program), "--config", str(path)], check=False).returncode
    if status or not output.exists():
        raise DataError(
            f"data-juicer ended with status {status}" + ("" if output.exists() else f" and left no {output}"),
            rule="it dies on a malformed line, and on operations whose packages or models are not there",
            fix="see its messages above, or run natively (--engine native)",
        )

"""Runs operations of data-juicer on texts: the other side of the comparison, and the recorder of its results.

Runs in data-juicer's own environment: ``PYTHON run_data_juicer.py CASES RESULTS``. CASES is a JSON file
``{"texts": [...], "operations": [{"name": ..., "parameters": {...}}, ...]}``. RESULTS holds for each operation the
texts that a mapper makes, or ``[statistic, kept]`` of a filter.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from typing import Any

PACKAGES = ("py-data-juicer", "ftfy", "opencc", "selectolax")


def results_of(operation: dict[str, Any], texts: list[str]) -> list[Any]:
    from data_juicer.ops import load_ops

    (loaded,) = load_ops([{operation["name"]: operation["parameters"]}])
    if operation["name"].endswith("_mapper"):
        return [loaded.process_batched({"text": [text]})["text"][0] for text in texts]
    samples: dict[str, Any] = {"text": texts, "__dj__stats__": [{} for _ in texts]}
    loaded.compute_stats_batched(samples)
    kept = list(loaded.process_batched(samples))
    values = [next(iter(stats.values())) for stats in samples["__dj__stats__"]]
    return [[float(value), bool(keep)] for value, keep in zip(values, kept, strict=True)]


def main(cases_path: str, results_path: str) -> None:
    with open(cases_path, encoding="utf-8") as file:
        cases = json.load(file)
    results = {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "results": [results_of(operation, cases["texts"]) for operation in cases["operations"]],
    }
    with open(results_path, "w", encoding="utf-8") as file:
        json.dump(results, file, ensure_ascii=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The report of a run: ``OUTPUT.report.json``, and the same to read in ``OUTPUT.report.html``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from steel_megatron.corpus.cleaning.drops import drop_of
from steel_megatron.corpus.cleaning.histogram import histogram_svg
from steel_megatron.corpus.cleaning.operation import NO_LIMIT, Filter, Operation
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.corpus.cleaning.tally import Amount, Tally, bin_edges

UNITS = ("documents", "characters", "tokens")

STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { padding: 0.15rem 0.7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) td { background: #f3f5f8; }
th { border-bottom: 1px solid #999; font-weight: 600; } h2 { margin-top: 2.5rem; } h3 { margin-bottom: 0.2rem; }
pre { background: #f3f5f8; max-height: 14rem; overflow: auto; padding: 0.5rem; white-space: pre-wrap; }
summary { cursor: pointer; } .why { color: #a33; } .quiet { color: #667; } code { background: #f3f5f8; }
"""


def report_of(recipe: Recipe, tally: Tally, tokenizer: str) -> dict[str, Any]:
    """What the report says more than the manifest, as JSON holds it."""
    operations = recipe.build()
    units = UNITS if tokenizer else UNITS[:2]
    totals = _sum(tally.amounts.values(), len(operations))
    return {
        "recipe": recipe.path,
        "tokenizer": tokenizer,
        "left_to_dedup": list(recipe.passed_over),
        "dropped": tally.dropped,
        "failures": tally.failures,
        "sources": {
            source: {
                "in": _named(stages[0], units),
                "out": _named(stages[-1], units),
                "operations": [
                    {"operation": operation.name, **_named(stages[step + 1], units)}
                    for step, operation in enumerate(operations)
                ],
            }
            for source, stages in sorted(tally.amounts.items())
        },
        "operations": [
            _operation(step, operation, recipe.steps[step][1], totals, tally, units)
            for step, operation in enumerate(operations)
        ],
        "reasons": tally.reasons,
        "samples": {name: [drop_of(drop) for _, drop in samples] for name, samples in tally.samples.items()},
    }


def _sum(many: Any, operations: int) -> list[Amount]:
    totals = [[0, 0, 0] for _ in range(operations + 2)]
    for stages in many:
        for total, amount in zip(totals, stages, strict=True):
            for unit in range(3):
                total[unit] += amount[unit]
    return totals


def _named(amount: Amount, units: Sequence[str]) -> dict[str, int]:
    return dict(zip(units, amount, strict=False))


def _operation(
    step: int,
    operation: Operation,
    parameters: dict[str, Any],
    totals: list[Amount],
    tally: Tally,
    units: Sequence[str],
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "operation": operation.name,
        "about": operation.about,
        "parameters": parameters,
        "in": _named(totals[step], units),
        "out": _named(totals[step + 1], units),
    }
    if isinstance(operation, Filter):
        low, high = (None if limit is None or abs(limit) >= NO_LIMIT else limit for limit in operation.limits())
        bins = sorted((int(key), count) for key, count in tally.histograms[step].items())
        facts["statistic"] = {
            "name": operation.statistic,
            "scale": operation.scale,
            "low": low,
            "high": high,
            "histogram": [[*bin_edges(index, operation.scale), count] for index, count in bins],
        }
    return facts


def write_html(report: dict[str, Any]) -> str:
    """The report as one page that needs no other file."""
    units = UNITS if report["tokenizer"] else UNITS[:2]
    pieces = [
        "<!doctype html><meta charset=utf-8><title>steel clean</title>",
        f"<style>{STYLE}</style><h1>Cleaning report</h1>",
        f"<p>Recipe <code>{escape(report['recipe'])}</code>, {_count(len(report['inputs']), 'file')}. "
        f"{report['records']:,} records: {report['documents']:,} kept, {report['dropped']:,} dropped"
        f" ({_share(report['dropped'], report['records'])}).</p>",
    ]
    if report["failures"]:
        pieces.append(f"<p class=why>{report['failures']:,} documents were dropped because an operation failed.</p>")
    if report["left_to_dedup"]:
        pieces.append(f"<p>Left to <code>steel dedup</code>: {escape(', '.join(report['left_to_dedup']))}.</p>")
    pieces += ["<h2>Sources</h2>", _sources(report, units), "<h2>Operations</h2>", _operations(report, units)]
    pieces += ["<h2>Why documents were dropped</h2>", _reasons(report)]
    for facts in report["operations"]:
        pieces.append(_statistic(facts))
    pieces.append("<h2>Dropped documents to read</h2>")
    for operation, drops in report["samples"].items():
        pieces.append(f"<h3>{escape(operation)}</h3>")
        pieces += map(_drop, drops)
    return "\n".join(piece for piece in pieces if piece)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{cells}{body}</table>"


def _amounts(before: dict[str, int], after: dict[str, int], units: Sequence[str]) -> list[str]:
    cells = []
    for unit in units:
        cells += [f"{before[unit]:,}", f"{after[unit]:,}", _share(before[unit] - after[unit], before[unit])]
    return cells


def _head(units: Sequence[str]) -> list[str]:
    return [text for unit in units for text in (f"{unit} in", "out", "less")]


def _sources(report: dict[str, Any], units: Sequence[str]) -> str:
    rows = [
        [source or "(none)", *_amounts(facts["in"], facts["out"], units)] for source, facts in report["sources"].items()
    ]
    return _table(["source", *_head(units)], rows)


def _operations(report: dict[str, Any], units: Sequence[str]) -> str:
    rows = [[facts["operation"], *_amounts(facts["in"], facts["out"], units)] for facts in report["operations"]]
    tables = [_table(["operation", *_head(units)], rows)]
    for source, facts in report["sources"].items() if len(report["sources"]) > 1 else ():
        before, rows = facts["in"], []
        for step in facts["operations"]:
            rows.append([step["operation"], *_amounts(before, step, units)])
            before = step
        table = _table(["operation", *_head(units)], rows)
        tables.append(f"<details><summary>{escape(source or '(none)')}</summary>{table}</details>")
    return "".join(tables)


def _reasons(report: dict[str, Any]) -> str:
    rows = [
        [operation, reason, f"{count:,}", _share(count, report["records"])]
        for operation, reasons in report["reasons"].items()
        for reason, count in reasons.items()
    ]
    return _table(["operation", "reason", "documents", "of all"], rows) if rows else "<p>None was dropped.</p>"


def _statistic(facts: dict[str, Any]) -> str:
    statistic = facts.get("statistic")
    if not statistic:
        return ""
    return (
        f"<h3>{escape(facts['operation'])}</h3><p class=quiet>{escape(facts['about'])} "
        f"<code>{escape(str(facts['parameters']))}</code></p>{histogram_svg(statistic)}"
    )


def _drop(drop: dict[str, Any]) -> str:
    return (
        f"<details><summary><span class=why>{escape(drop['detail'] or drop['reason'])}</span> "
        f"{escape(drop['source'])} {escape(drop['id'])}, {drop['characters']:,} characters</summary>"
        f"<pre>{escape(drop['content'])}</pre></details>"
    )

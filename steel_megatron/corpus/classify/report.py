"""``steel classify report``: what classifiers say of a sample of a corpus, to be read before a threshold is chosen."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron._classify import score_texts
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify.metrics import shared_best, spearman
from steel_megatron.corpus.classify.model import Classifier, probabilities_of, read_classifier
from steel_megatron.corpus.classify.ranks import BINS, STEPS, Ranks, bins_of
from steel_megatron.corpus.classify.texts import Labelled, texts_of
from steel_megatron.corpus.cleaning.histogram import histogram_svg
from steel_megatron.corpus.cleaning.report import STYLE
from steel_megatron.jobs.durable import write_text
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.writable import check_file

DECILES = 10
EXAMPLES = 4  # of a decile
EXAMPLE_CHARACTERS = 400
HISTOGRAM_BINS = 50
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # of which the table of thresholds tells
BEST = 0.1  # the share by which agreement is measured
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reported:
    """The page, and what it says."""

    path: Path
    texts: int
    content: dict[str, Any]


def write_report(
    models: Sequence[str],
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    key: str = "text",
    most_bytes: int = 50_000_000,
) -> Reported:
    """Scores the heads of the files and writes the page.

    Raises:
        ConfigError: a classifier is not there, damaged, or of more than two labels.
        DataError: no input, or no text in it.
    """
    classifiers = [read_classifier(path) for path in models]
    for each in classifiers:
        if each.columns > 1:
            raise ConfigError(
                f"--model {each.name} tells {len(each.labels)} labels apart",
                rule="the page is about scores, which classifiers of two labels give",
                fix="see what steel classify train printed of it",
            )
    target = Path(output)
    check_file(target)
    found = find_inputs(inputs, JSON_LINES, output=target)
    found.tell()
    files = Labelled("", tuple(InputFile.of(file) for file in found.files))
    left: Counter[str] = Counter()
    with Progress("score", min(files.bytes, most_bytes)) as progress:
        texts = list(texts_of(files, key, most_bytes, left, progress))
        if not texts:
            raise DataError("no text in the input", rule=f"records have a string {key!r}", fix="check --json-key")
        logits_NM = score_texts([each.linear for each in classifiers], texts)
    content = report_content(classifiers, texts, logits_NM, left)
    write_text(target, write_page(content))
    return Reported(target, len(texts), content)


def report_content(
    classifiers: Sequence[Classifier], texts: Sequence[str], logits_NM: Floats, left: Counter[str]
) -> dict[str, Any]:
    """What the page says, as JSON could hold it."""
    counts_MB = np.stack([np.bincount(bins_of(column), minlength=BINS) for column in logits_NM.T])
    ranks = Ranks.of({each.name: each.digest for each in classifiers}, counts_MB)
    scores_NM = np.stack([probabilities_of(column[:, None]) for column in logits_NM.T], axis=1)
    ranks_N = ranks.steps_of(logits_NM) / STEPS
    return {
        "texts": len(texts),
        "left_out": dict(left),
        "models": [_model(each, scores_N) for each, scores_N in zip(classifiers, scores_NM.T, strict=True)],
        "agreement": [
            {
                "models": [classifiers[a].name, classifiers[b].name],
                "correlation": spearman(logits_NM[:, a], logits_NM[:, b]),
                "shared_best": shared_best(logits_NM[:, a], logits_NM[:, b], BEST),
            }
            for a, b in itertools.combinations(range(len(classifiers)), 2)
        ],
        "deciles": [_decile(number, texts, scores_NM, ranks_N) for number in range(DECILES)],
    }


def _model(classifier: Classifier, scores_N: Floats) -> dict[str, Any]:
    counts, edges = np.histogram(scores_N, HISTOGRAM_BINS, (0.0, 1.0))
    bars = [[*pair, int(count)] for *pair, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts, strict=True)]
    return {
        "name": classifier.name,
        "digest": classifier.digest,
        "labels": classifier.labels,
        "trained": classifier.trained,
        "least_scores": {share: float(np.quantile(scores_N, 1 - share)) for share in SHARES},
        "histogram": [bar for bar in bars if bar[2]],
    }


def _decile(number: int, texts: Sequence[str], scores_NM: Floats, ranks_N: Floats) -> dict[str, Any]:
    """Texts spread evenly over a tenth of the order by rank."""
    order = np.argsort(ranks_N, kind="stable")
    own = order[len(order) * number // DECILES : len(order) * (number + 1) // DECILES]
    shown = own[np.unique(np.linspace(0, len(own) - 1, EXAMPLES).astype(int))] if len(own) else own
    return {
        "from": number / DECILES,
        "examples": [
            {"scores": scores_NM[at].tolist(), "rank": float(ranks_N[at]), "text": texts[at][:EXAMPLE_CHARACTERS]}
            for at in shown.tolist()
        ],
    }


def write_page(content: dict[str, Any]) -> str:
    """The content as one page that needs no other file."""
    names = [model["name"] for model in content["models"]]
    pieces = [
        "<!doctype html><meta charset=utf-8><title>steel classify</title>",
        f"<style>{STYLE}</style><h1>Scores of {escape(', '.join(names))}</h1>",
        f"<p>{content['texts']:,} texts, from the heads of the files.</p>",
    ]
    if content["left_out"]:
        left = ", ".join(f"{count:,} {escape(why)}" for why, count in content["left_out"].items())
        pieces.append(f"<p class=why>Records without a text: {left}.</p>")
    for model in content["models"]:
        pieces += _model_pieces(model)
    rows = [
        [f"{share:.0%}", *(f"{model['least_scores'][share]:.4f}" for model in content["models"])] for share in SHARES
    ]
    pieces += [
        "<h2>Thresholds</h2><p>The least score of the best texts by each model.</p>",
        _table(["kept", *names], rows),
    ]
    if content["agreement"]:
        rows = [
            [" and ".join(pair["models"]), f"{pair['correlation']:.3f}", f"{pair['shared_best']:.1%}"]
            for pair in content["agreement"]
        ]
        head = ["models", "correlation of ranks", f"shared of the best {BEST:.0%}"]
        pieces += ["<h2>Agreement</h2>", _table(head, rows)]
    several = "the largest that any model gives" if len(names) > 1 else "by score"
    pieces.append(f"<h2>Texts from the worst to the best</h2><p>By rank, {several}.</p>")
    for decile in content["deciles"]:
        pieces.append(f"<h3>{decile['from']:.0%} to {decile['from'] + 1 / DECILES:.0%}</h3>")
        for example in decile["examples"]:
            scores = ", ".join(f"{name} {score:.3f}" for name, score in zip(names, example["scores"], strict=True))
            pieces.append(f"<p class=quiet>rank {example['rank']:.3f}; {escape(scores)}</p>")
            pieces.append(f"<pre>{escape(example['text'])}</pre>")
    return "\n".join(pieces)


def _model_pieces(model: dict[str, Any]) -> list[str]:
    texts = ", ".join(
        f"{counts['trained_on']:,} {escape(label)}" for label, counts in model["trained"]["texts"].items()
    )
    held_out = model["trained"]["held_out"]
    good = f"; AUC {held_out['auc']:.4f} on held-out texts" if held_out.get("auc") is not None else ""
    statistic = {"name": model["name"], "scale": "ratio", "low": None, "high": None, "histogram": model["histogram"]}
    return [
        f"<h2>{escape(model['name'])}</h2><p class=quiet>Trained on {texts} texts{good}. The score is the probability "
        f"of {escape(model['labels'][1])}. Digest <code>{model['digest']}</code></p>",
        histogram_svg(statistic),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{cells}{body}</table>"

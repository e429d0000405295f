"""``steel classify train``: texts of two or more labels → a classifier, tried on texts that were held out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steel_megatron import __version__
from steel_megatron._classify import Trainer
from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify.metrics import many_class_metrics, two_class_metrics
from steel_megatron.corpus.classify.model import FORMAT, Classifier, Features, read_classifier, rounded
from steel_megatron.corpus.classify.texts import Labelled, Texts, labelled_inputs, read_texts
from steel_megatron.jobs.durable import refuse_other
from steel_megatron.jobs.parts import key_of
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.tasks import disk_errors
from steel_megatron.jobs.writable import check_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """
    Args:
        key: of the text in a record.
        held_out: share of the texts that the classifier is tried on.
        most_bytes: of the files of each label that are read.
        width: bits of a weight in the file.
    """

    features: Features = field(default_factory=Features)
    key: str = "text"
    epochs: int = 5
    rate: float = 1.0
    held_out: float = 0.1
    most_bytes: int = 200_000_000
    width: int = 16
    seed: int = 1


def train_classifier(
    given: Mapping[str, Sequence[str]],
    output: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Classifier, bool]:
    """Trains on the inputs of each label and writes the classifier; also whether it was there before.

    The same inputs, settings and seed give the same file. Where there are two labels, scores are of the second.

    Raises:
        ConfigError: too few labels.
        DataError: no input, or another file stands where the classifier is to be.
    """
    settings = settings or TrainSettings()
    target = Path(output)
    labelled = labelled_inputs(given)
    made_of = _made_of(labelled, settings)
    if target.exists() and not overwrite:
        if _made_of_there(target) == made_of:
            return read_classifier(target, "--output"), True
        refuse_other(target, "it is not of these texts and settings")
    check_file(target)
    texts = read_texts(labelled, settings.key, settings.held_out, settings.most_bytes, settings.seed)
    for why, count in sorted(texts.left.items()):
        log.info("classify: left out %s: %s", f"{count:,}", why)
    classifier = _trained(target, [each.label for each in labelled], texts, settings, made_of)
    with disk_errors(target):
        classifier.write(target)
    return classifier, False


def _made_of(labelled: Sequence[Labelled], settings: TrainSettings) -> str:
    """Changes with all that a classifier depends on."""
    files = [(each.label, [(file.name, file.bytes, file.version) for file in each.files]) for each in labelled]
    return key_of([FORMAT, asdict(settings), files])


def _made_of_there(path: Path) -> str:
    """What stands at a path was made of this; empty for what is no classifier."""
    try:
        return str(read_classifier(path, "--output").trained.get("made_of", ""))
    except ConfigError:
        return ""


def _trained(target: Path, labels: Sequence[str], texts: Texts, settings: TrainSettings, made_of: str) -> Classifier:
    """Trains, and tries what will be written: weights as they are rounded."""
    started = time.monotonic()
    trainer = Trainer(settings.features.settings(), len(labels))
    for label, own in enumerate(texts.train):
        trainer.add(own, label)
    losses: list[float] = []
    with Progress("train", settings.epochs) as progress:

        def on_epoch(epoch: int, loss: float) -> None:
            losses.append(loss)
            progress.add(1)

        weights_BC, bias_C = trainer.train(settings.epochs, settings.rate, settings.seed, on_epoch)
    whole_BC, scale = rounded(weights_BC, settings.width)
    trained: dict[str, Any] = {
        "by": f"steel_megatron {__version__}",
        "made_of": made_of,
        "settings": {key: value for key, value in asdict(settings).items() if key != "features"},
        "texts": {
            label: {"trained_on": len(texts.train[at]), "held_out": len(texts.held_out[at])}
            for at, label in enumerate(labels)
        },
        "left_out": dict(sorted(texts.left.items())),
        "losses": [round(loss, 6) for loss in losses],
    }
    classifier = Classifier(
        target.name.removesuffix(target.suffix),
        tuple(labels),
        settings.features,
        whole_BC,
        scale,
        tuple(map(float, bias_C)),
        settings.width,
        trained,
    )
    trained["held_out"] = tried_on(classifier, texts.held_out)
    log.info("classify: trained in %.1f s", time.monotonic() - started)
    return classifier


def tried_on(classifier: Classifier, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The metrics of a classifier on texts of each of its labels; empty where there are none."""
    together = [text for own in texts for text in own]
    if not together:
        return {}
    labels_N = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    probabilities = classifier.probabilities(together)
    if classifier.columns == 1:
        return two_class_metrics(probabilities, labels_N)
    return many_class_metrics(probabilities, labels_N, classifier.labels)

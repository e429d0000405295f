"""Classifiers of texts: trained here, scored at the speed of reading. ``steel classify`` is a thin caller of this."""

from steel_megatron.corpus.classify.model import Classifier, read_classifier
from steel_megatron.corpus.classify.score import Scored, ScoreSettings, score
from steel_megatron.corpus.classify.train import TrainSettings, train_classifier

__all__ = [
    "Classifier",
    "ScoreSettings",
    "Scored",
    "TrainSettings",
    "read_classifier",
    "score",
    "train_classifier",
]

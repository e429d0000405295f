"""Makes the classifier of languages that is shipped: steel_megatron/corpus/classify/language.classifier.

    PYTHONPATH=tools python -m language.model --debian DIR --wheels DIR --work DIR

The texts are documentation in Debian packages and what a few packages of PyPI hold: ``texts.py`` names them and says
how to get them. What comes out is tried on texts of other kinds, which it was not trained on; the table is printed and
stands in docs/classify.md. The same texts give the same weights.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from language.texts import other_texts, training_texts
from steel_megatron.corpus.classify import TrainSettings, read_classifier, train_classifier
from steel_megatron.corpus.classify.language import LANGUAGE_MODEL
from steel_megatron.corpus.classify.model import Features
from steel_megatron.corpus.classify.train import tried_on

SETTINGS = TrainSettings(Features(bits=15, order=3, words=True, characters=2000), epochs=12, rate=1.0, width=8)
LENGTHS = (12, 30, 80, 300)  # characters of the pieces that it learns from: short ones are the difficult ones
MOST_PIECES = 12_000  # of a label


def pieces(texts: list[str], seed: int) -> list[str]:
    """The texts cut into pieces of several lengths, the same number of each, in an order by the seed."""
    cut, chance = [], random.Random(seed)
    for length in LENGTHS:
        found = [text[at : at + length] for text in texts for at in range(0, max(len(text) - length // 2, 1), length)]
        found = sorted({piece.strip() for piece in found if len(piece.strip()) >= length // 2})
        chance.shuffle(found)
        cut += found[: MOST_PIECES // len(LENGTHS)]
    return cut


def main() -> None:
    """Trains, and prints how good it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debian", type=Path, required=True, help="Debian packages, unpacked by dpkg -x.")
    parser.add_argument("--wheels", type=Path, required=True, help="Packages of PyPI, unpacked.")
    parser.add_argument("--work", type=Path, required=True, help="Gets the texts, a file per label.")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    given = {}
    for label, texts in sorted(training_texts(args.debian, args.wheels).items()):
        path = args.work / f"{label}.jsonl"
        lines = (json.dumps({"text": piece}, ensure_ascii=False) for piece in pieces(texts, SETTINGS.seed))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        given[label] = [str(path)]
    train_classifier(given, LANGUAGE_MODEL, SETTINGS, overwrite=True)
    print_table(args.wheels)


def print_table(wheels: Path) -> None:
    """Tries the classifier on texts of other kinds."""
    classifier = read_classifier(LANGUAGE_MODEL)
    held_out = classifier.trained["held_out"]["labels"]
    others = other_texts(wheels)
    measured = {
        length: tried_on(classifier, [others.get(label, {}).get(length, []) for label in classifier.labels])["labels"]
        for length in ("short", "long")
    }
    print(f"{LANGUAGE_MODEL.stat().st_size:,} bytes")
    print("| language | texts trained on | held out | other texts, 20 to 50 characters | 200 characters |")
    print("|---|---|---|---|---|")
    for label in classifier.labels:
        shown = [f"{held_out[label]['accuracy']:.3f}"]
        for table in measured.values():
            row = table.get(label)
            taken = ", ".join(row["taken_as"]) if row else ""
            shown.append(
                f"{row['accuracy']:.3f} of {row['texts']:,}" + (f" ({taken})" if taken else "") if row else "–"
            )
        print(f"| {label} | {classifier.trained['texts'][label]['trained_on']:,} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()

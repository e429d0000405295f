"""Mappers under data-juicer's names. What needs a library that data-juicer needs too gives the very same text."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any, ClassVar

import regex

from steel_megatron._text import CharacterSet, Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import Mapper, register
from steel_megatron.jobs.needed import needed

PATIENCE_SECONDS = 60  # with one text; then it is a failure, which costs that document
EMAIL = r"[A-Za-z0-9.\-+_]+@[a-z0-9.\-+_]+\.[a-z]+"
IPV4_BYTE = r"(?:1[0-9][0-9]|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])"
IPV4_PART = r"(?:(?:1[0-9][0-9]|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])\.)"
ADDRESS = rf"{IPV4_PART}{{3}}{IPV4_BYTE}|(?:[\da-fA-F]{{1,4}}:){{7}}[\da-fA-F]{{1,4}}"
# Single characters under one repetition where data-juicer nests two: the same matches, but a row of dots behind "www."
# takes no exponential time.
_NESTED = r"\((?:[^\s()<>]|\([^\s()<>]+\))*\)"
LINK = (
    r"(?i)\b(?:(?:[a-z][\w-]+:(?:/{1,3}|[a-z0-9%])|www\d{0,3}[.]|[a-z0-9.\-]+[.][a-z]{2,4}/)"
    rf"(?:[^\s()<>]|{_NESTED})+"
    rf"(?:{_NESTED}|[^\s`!()\[\]{{}};:'\".,<>?«»“”‘’]))"
)
# A link in ASCII alone: where Chinese goes on behind it without a blank, the expression above takes the sentence too. A
# scheme needs its slashes, and a bare host a known ending, so that neither "宽:50mm" nor "3.2km/h" is one.
_ASCII = r"[!-'*-;=?-~]"
_ASCII_NESTED = rf"\((?:{_ASCII}|\({_ASCII}+\))*\)"
STRICT_LINK = (
    r"(?i)(?<![a-z0-9_.-])(?:[a-z][a-z0-9+.-]*://|www\d{0,3}[.]"
    r"|(?:[a-z0-9-]+[.])+(?:com|cn|net|org|edu|gov|info|cc|io|tv|me|hk|tw|top|xyz)/)"
    rf"(?:(?:{_ASCII}|{_ASCII_NESTED})*(?:{_ASCII_NESTED}|[#-&*+\-/-9=@-Z^_a-z|~]))?"
)


@dataclass(kw_only=True)
class Replacing(Mapper):
    """Replaces what an expression matches. A ``pattern`` of one's own is in the syntax of the package regex."""

    standard: ClassVar[str] = ""
    candidates: ClassVar[str] = ""
    pattern: str | None = None
    repl: str = ""
    _expression: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        pattern = self.standard if self.pattern is None else self.pattern
        if self.pattern is not None and len(pattern) > 2 and pattern[:2] in ("r'", 'r"') and pattern[1] == pattern[-1]:
            pattern = pattern[2:-1]
        try:
            self._expression = regex.compile(pattern, flags=regex.DOTALL)
        except regex.error as error:
            raise ConfigError(f"{self.name}: pattern {pattern!r}: {error}", rule="it is a regular expression") from None

    def apply(self, text: Text) -> None:
        if self.pattern is None:
            text.replace(self.candidates, self._replaced)
        else:
            text.set(self._replaced(str(text)))

    def _replaced(self, text: str) -> str:
        return str(self._expression.sub(self.repl, text, timeout=PATIENCE_SECONDS))


@register("clean_email_mapper")
@dataclass(kw_only=True)
class CleanEmail(Replacing):
    """Takes e-mail addresses out."""

    standard = EMAIL
    candidates = "email"


@register("clean_ip_mapper")
@dataclass(kw_only=True)
class CleanIp(Replacing):
    """Takes IPv4 and IPv6 addresses out."""

    standard = ADDRESS
    candidates = "address"


@register("clean_links_mapper")
@dataclass(kw_only=True)
class CleanLinks(Replacing):
    """Takes web and other links out; ``strict`` ends them before the first character that is not ASCII."""

    standard = LINK
    candidates = "link"
    ours = frozenset({"strict"})
    strict: bool = False

    def check(self) -> None:
        if self.strict and self.pattern is None:
            self._expression = regex.compile(STRICT_LINK)
        else:
            super().check()


@register("chinese_convert_mapper")
@dataclass(kw_only=True)
class ChineseConvert(Mapper):
    """Converts between traditional and simplified Chinese with OpenCC; ``mode`` t2s gives simplified."""

    mode: str = "s2t"
    _converter: Any = field(default=None, init=False, repr=False)
    _changing: CharacterSet | None = field(default=None, init=False, repr=False)

    # Changed by t2s in some words, but not alone; the first six in OpenCC 1.1.8, the others are like them.
    CHANGE_IN_WORDS: ClassVar[str] = "沈牴瞭藉衹覆著乾徵嚮麼於餘夥摺鍾昇沖誌"
    MODES: ClassVar[tuple[str, ...]] = (
        "s2t", "t2s", "s2tw", "tw2s", "s2hk", "hk2s", "s2twp", "tw2sp", "t2tw", "tw2t", "hk2t", "t2hk", "t2jp", "jp2t"
    )  # fmt: skip

    def check(self) -> None:
        if self.mode not in self.MODES:
            raise ConfigError(f"{self.name}: mode {self.mode!r}", rule=f"it is one of {', '.join(self.MODES)}")
        self._converter = needed("opencc", self.name).OpenCC(self.mode + ".json")
        if self.mode == "t2s":
            letters = [chr(c) for c in range(0x80, 0x33480) if not 0xD800 <= c < 0xE000 and c != 0x85]
            converted = self._converter.convert("\n".join(letters)).split("\n")
            changed = [letter for letter, other in zip(letters, converted, strict=True) if letter != other]
            self._changing = CharacterSet("".join(changed) + self.CHANGE_IN_WORDS)

    def apply(self, text: Text) -> None:
        if self._changing is not None:
            text.replace_lines(self._changing, self._converted)
        elif not (given := str(text)).isascii():
            text.set(self._converted(given))

    def _converted(self, text: str) -> str:
        # Some versions of OpenCC end a text at a NUL.
        return "\0".join(map(self._converter.convert, text.split("\0")))


@register("clean_copyright_mapper")
@dataclass(kw_only=True)
class CleanCopyright(Mapper):
    """Takes the copyright comment at the head of a program out."""

    def apply(self, text: Text) -> None:
        text.remove_copyright()


@register("clean_html_mapper")
@dataclass(kw_only=True)
class CleanHtml(Mapper):
    """Takes HTML tags out, resolves entities, and writes list items as lines with a star."""

    _parser: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        self._parser = needed("selectolax.lexbor", self.name).LexborHTMLParser

    def apply(self, text: Text) -> None:
        if not text.has_any("<&\0\r"):  # all that a parser leaves of such a text is known
            text.set(str(text).lstrip("\t\n\f "))
            return
        html = str(text)
        for tag, written in (("<li>", "\n*"), ("</li>", ""), ("<ol>", "\n*"), ("</ol>", "")):
            html = html.replace(tag, written)
        text.set(self._parser(html).text())


@register("expand_macro_mapper")
@dataclass(kw_only=True)
class ExpandMacro(Mapper):
    """Writes out the LaTeX macros without arguments that a text defines."""

    DEFINITIONS: ClassVar[tuple[Any, ...]] = (
        regex.compile(r"\\\bnewcommand\b\*?\{(\\[a-zA-Z0-9]+?)\}\{(.*?)\}$", regex.MULTILINE),
        regex.compile(r"\\def\s*(\\[a-zA-Z0-9]+?)\s*\{(.*?)\}$", regex.MULTILINE),
    )

    def apply(self, text: Text) -> None:
        if not text.has_any("\\"):
            return
        written = str(text)
        macros = {}
        for definition in self.DEFINITIONS:
            for match in definition.finditer(written):
                macros[match[1]] = match[2]
        for name, value in macros.items():
            expression = regex.compile(rf"{regex.escape(name)}([^a-zA-Z0-9])")
            written = expression.sub(lambda found, value=value: value + found[1], written)
        text.set(written)


@register("fix_unicode_mapper")
@dataclass(kw_only=True)
class FixUnicode(Mapper):
    """Mends broken encodings, entities, widths, quotation marks, line ends and control characters as ftfy does."""

    normalization: str | None = None
    _ftfy: Any = field(default=None, init=False, repr=False)
    _form: str = field(default="NFC", init=False, repr=False)

    def check(self) -> None:
        self._form = (self.normalization or "NFC").upper()
        if self._form not in ("NFC", "NFKC", "NFD", "NFKD"):
            raise ConfigError(f"{self.name}: normalization {self.normalization!r}", rule="it is NFC, NFKC, NFD or NFKD")
        self._ftfy = needed("ftfy", self.name)

    def apply(self, text: Text) -> None:
        if self._form != "NFC":
            text.set(self._ftfy.fix_text(str(text), normalization=self._form))
        elif not text.repair(self._fixed):
            text.set(unicodedata.normalize("NFC", str(text)))

    def _fixed(self, line: str, unescape: bool) -> str:
        return str(self._ftfy.fix_text(line, unescape_html="auto" if unescape else False))


@register("punctuation_normalization_mapper")
@dataclass(kw_only=True)
class PunctuationNormalization(Mapper):
    """Writes Chinese and other punctuation in ASCII. The shipped recipes leave it as it is."""

    def apply(self, text: Text) -> None:
        text.punctuation_in_ascii()


@register("remove_repeat_sentences_mapper")
@dataclass(kw_only=True)
class RemoveRepeatSentences(Mapper):
    """Takes sentences out that stand before in the same text."""

    lowercase: bool = False
    ignore_special_character: bool = True
    min_repeat_sentence_length: int = 2

    def apply(self, text: Text) -> None:
        text.remove_repeated_sentences(
            self.lowercase, self.ignore_special_character, max(self.min_repeat_sentence_length, 0)
        )


@register("remove_specific_chars_mapper")
@dataclass(kw_only=True)
class RemoveSpecificChars(Mapper):
    """Takes single characters out."""

    chars_to_remove: str = "◆●■►▼▲▴∆▻▷❖♡□"

    def apply(self, text: Text) -> None:
        if self.chars_to_remove:
            text.remove_characters("".join(self.chars_to_remove))


@register("whitespace_normalization_mapper")
@dataclass(kw_only=True)
class WhitespaceNormalization(Mapper):
    """Makes every kind of blank a space, and takes white space at both ends off. ``keep`` names blanks to leave."""

    ours = frozenset({"keep"})
    keep: str = ""

    def apply(self, text: Text) -> None:
        text.blanks_as_spaces(self.keep)

"""Rules for web pages after Gopher (Rae et al., arXiv 2112.11446, A1.1), C4 (Raffel et al., arXiv 1910.10683, 2.2) and
FineWeb (Penedo et al., arXiv 2406.17557, 3.6), in a form that holds for Chinese: a word is a character where a script
has no spaces (``words: cjk``), a line is brief by its columns (a Chinese character has two), and sentences end in
Chinese punctuation too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.filters import RatioFilter, WordFilter, check_repetition_length
from steel_megatron.corpus.cleaning.operation import NO_LIMIT, Filter, Mapper, register
from steel_megatron.jobs.needed import needed

BRIEF_COLUMNS = 30  # FineWeb's 30 letters, or 15 Chinese characters
# The most frequent function words of Chinese that are one character: text in sentences has several.
STOP_CHARACTERS = "的一是不了在有这个我他们来到时大地为子中你说生国年着就那和要她出也得里后自以会"
# What sites put around their pages. A short line that holds one of these is none of the text.
BOILERPLATE = (
    *("上一篇", "下一篇", "上一页", "下一页", "返回首页", "返回顶部", "返回列表", "设为首页", "加入收藏", "网站地图"),
    *(
        "版权所有",
        "备案号",
        "ICP备",
        "公网安备",
        "责任编辑",
        "点击查看",
        "点击进入",
        "点击这里",
        "阅读全文",
        "查看更多",
    ),
    *(
        "扫一扫",
        "扫码关注",
        "微信公众号",
        "关注我们",
        "分享到",
        "登录后",
        "请先登录",
        "免责声明",
        "相关推荐",
        "热门推荐",
    ),
    *("相关文章", "热门标签", "友情链接", "Copyright", "All Rights Reserved", "Powered by", "javascript", "cookies"),
)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@register("repeated_lines_filter")
@dataclass(kw_only=True)
class RepeatedLines(RatioFilter):
    """Share of the text in lines, or ``unit: paragraphs``, that stand before in it; ``by: pieces`` counts them."""

    statistic = "repeated_ratio"
    unit: str = "lines"
    by: str = "characters"
    max_ratio: float = 0.2

    def check(self) -> None:
        for name, value, known in (
            ("unit", self.unit, ("lines", "paragraphs")),
            ("by", self.by, ("characters", "pieces")),
        ):
            if value not in known:
                raise ConfigError(f"{self.name}: {name}: {value!r}", rule=f"it is {known[0]} or {known[1]}")

    def measure(self, text: Text) -> float:
        pieces, characters = text.repeated_pieces(self.unit == "paragraphs")
        return pieces if self.by == "pieces" else characters


@register("sentence_ends_filter")
@dataclass(kw_only=True)
class SentenceEnds(RatioFilter):
    """Share of the lines that end as a sentence does."""

    statistic = "sentence_end_ratio"
    min_ratio: float = 0.12

    def measure(self, text: Text) -> float:
        lines, _, ended, *_ = text.line_kinds()
        return _share(ended, lines)


@register("brief_lines_filter")
@dataclass(kw_only=True)
class BriefLines(RatioFilter):
    """Share of the lines that have fewer columns than ``columns``; a Chinese character has two."""

    statistic = "brief_line_ratio"
    columns: int = BRIEF_COLUMNS
    max_ratio: float = 0.67

    def measure(self, text: Text) -> float:
        lines, _, _, brief, *_ = text.line_kinds(self.columns)
        return _share(brief, lines)


@register("bullet_lines_filter")
@dataclass(kw_only=True)
class BulletLines(RatioFilter):
    """Share of the lines that begin with a bullet."""

    statistic = "bullet_line_ratio"
    max_ratio: float = 0.9

    def measure(self, text: Text) -> float:
        lines, *_, bulleted, _ = text.line_kinds()
        return _share(bulleted, lines)


@register("ellipsis_lines_filter")
@dataclass(kw_only=True)
class EllipsisLines(RatioFilter):
    """Share of the lines that break off in an ellipsis, as teasers do."""

    statistic = "ellipsis_line_ratio"
    max_ratio: float = 0.3

    def measure(self, text: Text) -> float:
        lines, *_, broken_off = text.line_kinds()
        return _share(broken_off, lines)


@register("stop_characters_filter")
@dataclass(kw_only=True)
class StopCharacters(Filter):
    """Number of different frequent characters of ``characters`` in the text: lists of products have few."""

    statistic = "stop_characters"
    scale = "count"
    characters: str = STOP_CHARACTERS
    min_num: int = 2
    max_num: int = NO_LIMIT

    def measure(self, text: Text) -> float:
        return text.distinct_of(self.characters)

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_num, self.max_num


@register("symbol_ratio_filter")
@dataclass(kw_only=True)
class SymbolRatio(WordFilter, RatioFilter):
    """Symbols of ``symbols`` per word."""

    statistic = "symbol_word_ratio"
    symbols: str = "#…|►▶◄→_"
    words: str = "cjk"
    max_ratio: float = 0.1
    ours = frozenset({"words"})

    def measure(self, text: Text) -> float:
        return _share(text.count_of(self.symbols), text.count_words(self.unspaced))


@dataclass(kw_only=True)
class NgramFilter(WordFilter, RatioFilter):
    """What filters of n-grams share."""

    words: str = "cjk"
    n: int = 4

    def check(self) -> None:
        super().check()
        check_repetition_length(self.name, self.n)


@register("top_ngram_filter")
@dataclass(kw_only=True)
class TopNgram(NgramFilter):
    """Share of the words' characters that the most frequent n-gram of words takes."""

    statistic = "top_ngram_ratio"
    max_ratio: float = 0.16

    def measure(self, text: Text) -> float:
        return text.top_ngram(self.n, self.unspaced)


@register("duplicate_ngrams_filter")
@dataclass(kw_only=True)
class DuplicateNgrams(NgramFilter):
    """Share of the words' characters in n-grams of words that stand before in the text."""

    statistic = "duplicate_ngram_ratio"
    n: int = 10
    max_ratio: float = 0.2

    def measure(self, text: Text) -> float:
        return text.duplicate_ngrams(self.n, self.unspaced)


@register("navigation_lines_mapper")
@dataclass(kw_only=True)
class NavigationLines(Mapper):
    """Takes out runs of ``fewest`` and more brief lines without the end of a sentence, as menus are."""

    columns: int = BRIEF_COLUMNS
    fewest: int = 5

    def check(self) -> None:
        if self.fewest < 1:
            raise ConfigError(f"{self.name}: fewest: {self.fewest}", rule="it is above 0")

    def apply(self, text: Text) -> None:
        text.remove_navigation(self.columns, self.fewest)


@register("boilerplate_lines_mapper")
@dataclass(kw_only=True)
class BoilerplateLines(Mapper):
    """Takes out lines of at most ``characters`` characters that hold a phrase of ``phrases``, as sites have."""

    phrases: tuple[str, ...] | None = None
    characters: int = 40
    _automaton: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        phrases = BOILERPLATE if self.phrases is None else tuple(self.phrases)
        if not phrases or not all(isinstance(phrase, str) and phrase for phrase in phrases):
            raise ConfigError(f"{self.name}: phrases: {self.phrases!r}", rule="it is a list of texts")
        self._automaton = needed("ahocorasick", self.name).Automaton()
        for phrase in phrases:
            self._automaton.add_word(phrase.lower(), phrase)
        self._automaton.make_automaton()

    def apply(self, text: Text) -> None:
        given = str(text)
        lower = given.lower()
        if next(self._automaton.iter(lower), None) is None:
            return
        kept = [line for line in given.split("\n") if len(line) > self.characters or not self._holds(line)]
        text.set("\n".join(kept))

    def _holds(self, line: str) -> bool:
        return next(self._automaton.iter(line.lower()), None) is not None

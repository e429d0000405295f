"""Personal data as Chinese texts hold it: found by form, by check digits, and by the words before it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from steel_megatron._text import Text
from steel_megatron.config import ConfigError, nearest
from steel_megatron.corpus.cleaning.operation import NO_LIMIT, Filter, Mapper, Operation, register

_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_ID_CHECKS = "10X98765432"
_HAN = "\u4e00-\u9fff"


def is_id_card(number: str) -> bool:
    """Whether 18 characters are a number of a resident identity card: the date is one, and the check digit fits."""
    try:
        datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, number[:17], strict=True))
    return _ID_CHECKS[total % 11] == number[17].upper()


def is_bank_card(number: str) -> bool:
    """Whether the digits pass Luhn's test (ISO/IEC 7812-1); blanks and hyphens do not count."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    total = sum(digit if at % 2 == 0 else sum(divmod(2 * digit, 10)) for at, digit in enumerate(reversed(digits)))
    return 16 <= len(digits) <= 19 and len(set(digits)) > 1 and total % 10 == 0


class Kind(NamedTuple):
    """One kind of personal data.

    Args:
        pattern: what it looks like; the named group of the kind's name is the data itself.
        mask: what stands for it.
        fits: whether what looks like it is it.
    """

    pattern: str
    mask: str
    fits: Callable[[str], bool] = lambda data: True


# In this order: of two that begin at one place the first is taken.
KINDS = {
    "id_card": Kind(
        r"(?<![\dA-Za-z])(?P<id_card>[1-9]\d{5}(?:19|20)\d{9}[\dXx])(?![\dA-Za-z])", "[身份证号]", is_id_card
    ),
    "bank_card": Kind(
        r"(?<![\d.])(?P<bank_card>(?:62|4\d|5[1-5]|35|37)\d{2}(?:[ -]?\d{4}){3}(?:[ -]?\d{1,3})?)(?![\d.])",
        "[银行卡号]",
        is_bank_card,
    ),
    "mobile": Kind(
        r"(?<![\d.])(?P<mobile>(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4})(?![\d.]|\w*@)", "[手机号]"
    ),
    "landline": Kind(
        r"(?<![\d.-])(?P<landline>(?:\(0\d{2,3}\)|（0\d{2,3}）|0\d{2,3}[ -])[2-9]\d{6,7})(?![\d-])", "[电话号]"
    ),
    "qq": Kind(
        r"(?:(?<![A-Za-z])(?i:QQ)|扣扣|企鹅)(?:交流|客服)?(?:群|号码?){0,2}\s?[:：是为]?\s?(?P<qq>[1-9]\d{4,10})(?!\d)",
        "[QQ号]",
    ),
    "wechat": Kind(
        r"(?:微信|薇信|威信|(?<![A-Za-z])(?i:wechat|weixin|vx|wx))(?:公众|客服)?号?\s?[:：是为]\s?(?P<wechat>[A-Za-z][A-Za-z0-9_-]{5,19}|[1-9]\d{5,10})"
        r"(?![A-Za-z0-9_-])",
        "[微信号]",
    ),
    "address": Kind(
        rf"(?P<address>(?:[{_HAN}]{{2,8}}(?:省|自治区|市|区|县|镇|乡))*[{_HAN}]{{1,8}}(?:路|街|巷|弄|胡同|大道)"
        rf"(?:[东西南北中]段?)?\d{{1,5}}(?:-\d{{1,4}})?号(?:[{_HAN}A-Za-z]{{0,8}}\d{{1,5}}(?:号楼|栋|幢|座|单元|层|楼|室))*)",
        "[地址]",
    ),
}
_MAY_HOLD = re.compile(r"\d[\d -]{3}|微信|薇信|威信|(?i:wechat|weixin|vx|wx)|号")


@dataclass(kw_only=True)
class PersonalData(Operation):
    """What both operations share. ``kinds`` names what is looked for, none: all."""

    kinds: tuple[str, ...] | None = None

    def check(self) -> None:
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise ConfigError(
                    f"{self.name}: kinds: {kind!r}", rule=f"they are {', '.join(KINDS)}", fix=nearest(kind, KINDS)
                )

    def found(self, text: str) -> Iterator[tuple[str, int, int]]:
        """The personal data of a text in order, each as its kind and where it begins and ends."""
        if not _MAY_HOLD.search(text):
            return
        expression = _expression(tuple(KINDS) if self.kinds is None else tuple(self.kinds))
        at = 0
        while match := expression.search(text, at):
            kind = str(match.lastgroup)
            start, stop = match.span(kind)
            if KINDS[kind].fits(match[kind]):
                yield kind, start, stop
                at = stop
            else:
                at = start + 1


_EXPRESSIONS: dict[tuple[str, ...], re.Pattern[str]] = {}


def _expression(kinds: tuple[str, ...]) -> re.Pattern[str]:
    if kinds not in _EXPRESSIONS:
        _EXPRESSIONS[kinds] = re.compile("|".join(KINDS[kind].pattern for kind in KINDS if kind in kinds))
    return _EXPRESSIONS[kinds]


@register("personal_data_mapper")
@dataclass(kw_only=True)
class MaskPersonalData(PersonalData, Mapper):
    """Masks Chinese personal data: identity and bank cards by check digit, phones, QQ, WeChat, addresses."""

    repl: str | None = None

    def apply(self, text: Text) -> None:
        given = str(text)
        pieces, at = [], 0
        for kind, start, stop in self.found(given):
            pieces += [given[at:start], KINDS[kind].mask if self.repl is None else self.repl]
            at = stop
        if pieces:
            text.set("".join([*pieces, given[at:]]))


@register("personal_data_filter")
@dataclass(kw_only=True)
class CountPersonalData(PersonalData, Filter):
    """Number of personal data in the text; lists of contacts have many."""

    statistic: ClassVar[str] = "personal_data"
    scale: ClassVar[str] = "count"
    max_num: int = 3

    def measure(self, text: Text) -> float:
        return sum(1 for _ in self.found(str(text)))

    def limits(self) -> tuple[float | None, float | None]:
        return None, NO_LIMIT if self.max_num is None else self.max_num

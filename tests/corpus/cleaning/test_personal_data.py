"""Chinese personal data: what is masked, and what looks like it and is not."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import Filter, Mapper, build_operation
from steel_megatron.corpus.cleaning.personal_data import KINDS, is_bank_card, is_id_card


def masked(text: str, **parameters: Any) -> str:
    operation = build_operation("personal_data_mapper", parameters)
    assert isinstance(operation, Mapper)
    changing = Text(text)
    operation.apply(changing)
    return str(changing)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("请打13812345678找我", "mobile"),
        ("电话：+86 138-1234-5678。", "mobile"),
        ("手机(138 1234 5678)", "mobile"),
        ("身份证11010519491231002X，男", "id_card"),
        ("证号110105194912310029x", ""),
        ("工行卡 6222 0200 0000 0000 011？", ""),
        ("卡号4111 1111 1111 1111", "bank_card"),
        ("电话(010)62345678", "landline"),
        ("0571-87654321转8001", "landline"),
        ("QQ：123456789", "qq"),
        ("加QQ群号 12345678 交流", "qq"),
        ("微信号：abc_12345", "wechat"),
        ("wechat: hello-world1", "wechat"),
        ("北京市海淀区中关村大街27号3号楼501室", "address"),
    ],
)
def test_what_is_masked(text: str, kind: str) -> None:
    found = masked(text)
    assert found == text if not kind else KINDS[kind].mask in found
    assert not kind or sum(c.isdigit() for c in found) < 6


@pytest.mark.parametrize(
    "text",
    [
        "圆周率是3.14159265358979323846。",
        "1949年10月1日至2019年10月1日",
        "定价13800元，印数138,123,456册",
        "ISBN 978-7-111-21382-6",
        "订单号20230405123456789012",
        "版本1.3.8.1，端口18080",
        "微信支付与QQ音乐在2019年发布",
        "长江路两旁有3号和5号线",
        "经纬度116.4073963,39.9041999",
        "发件人13812345678@example.com",
        "同一号码1111111111111111",
        "",
    ],
)
def test_what_is_none_of_it_stays(text: str) -> None:
    assert masked(text) == text


def with_check_digit(first_17: str) -> str:
    weights = [2 ** (17 - at) % 11 for at in range(17)]  # as GB 11643 derives them
    total = sum(weight * int(digit) for weight, digit in zip(weights, first_17, strict=True))
    return first_17 + "10X98765432"[total % 11]


@given(st.integers(110000, 820000), st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.integers(0, 999))
def test_one_check_digit_of_eleven_fits(region: int, born: date, order: int) -> None:
    number = with_check_digit(f"{region}{born:%Y%m%d}{order:03}")
    fitting = [digit for digit in "0123456789X" if is_id_card(number[:17] + digit)]
    assert fitting == [number[17]]
    assert masked(f"号{number}。") == "号[身份证号]。"


@given(st.integers(0, 10**13 - 1))
def test_one_luhn_digit_of_ten_fits(middle: int) -> None:
    begin = f"62{middle:013}"
    fitting = [digit for digit in "0123456789" if is_bank_card(begin + digit)]
    assert len(fitting) == 1
    assert masked(f"卡{begin}{fitting[0]}。") == "卡[银行卡号]。"


def test_kinds_and_replacement_are_chosen() -> None:
    text = "电话13812345678，QQ：123456789"
    assert masked(text, kinds=["qq"]) == "电话13812345678，QQ：[QQ号]"
    assert masked(text, repl="") == "电话，QQ："
    with pytest.raises(ConfigError, match="mobil"):
        build_operation("personal_data_mapper", {"kinds": ["mobil"]})


def test_lists_of_contacts_are_dropped() -> None:
    operation = build_operation("personal_data_filter", {"max_num": 2})
    assert isinstance(operation, Filter)
    assert not operation.judge(Text("打13812345678或13912345678")).why
    assert operation.judge(Text("打13812345678、13912345678或13712345678")).why == "personal_data 3 above 2"

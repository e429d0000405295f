"""The shipped recipes on texts of each kind: what is good stays whole, what is junk falls."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest

from steel_megatron.corpus.cleaning.document import Document
from steel_megatron.corpus.cleaning.operation import Filter, Mapper, Operation
from steel_megatron.corpus.cleaning.recipe import read_recipe

RECIPES = Path(__file__).parents[3] / "recipes"

# Most fall, or lose text, where limits are those of data-juicer's recipes: digits, blanks and punctuation count as
# special characters, short lines make a short average, and what stands behind a link goes with it.
GOOD = {
    "zh_web": [
        "据县纪委消息，县水务局原局长赵某某接受审查调查。赵某某，男，1962年4月生，1983年7月参加工作，在县里的水利站做了多年技术工作，"
        "1983年7月至1990年3月任技术员，1990年3月至1998年11月任股长，"
        "1998年11月至2006年5月任副局长，"
        "2006年5月至2015年12月任局长。",
        "1500米决赛：1. 李某 3:58.21；2. 王某 3:59.04；3. 赵某 4:00.17；4. 孙某 4:01.33。"
        "400米决赛：1. 周某 47.02；2. 吴某 47.55。"
        "李某说，最后一圈他是咬着牙跑下来的，成绩比上届快了2秒10，回到家里的第一件事是给教练打电话；"
        "教练在电话里只说了一句，明年还要再快一点，不要停下来。",
        "记者从本地新闻网（www.example.com）获悉，由于上游连日降雨，水库今天上午开闸泄洪，"
        "下游各村已经安排人员值守，请市民不要到河边去。",
        "雨停了，\n风还在走。\n巷口的灯，\n照着卖花的手。\n我问她，\n明天来不来？\n她摇摇头，\n只说花要开。",
        "番茄炒蛋\n番茄 两个\n鸡蛋 三个\n盐 少许\n葱花 少许\n鸡蛋打散，加一点盐，下锅炒到刚刚凝固就盛出来。\n"
        "番茄切块，炒出汁水以后把鸡蛋倒回去，"
        "翻几下就可以出锅了。",
    ],
    "zh_encyclopedia": [
        "青川机场（QCX）是位于北部山区的民用机场，始建于1936年，1961年4月开通往返省城的航班，1987年停航，1992年10月扩建，1995年3月复航。"
        "飞行区等级4C，跑道长2800米，宽45米，机坪6500平方米，停机位3个，航站楼2100平方米，2019年旅客吞吐量12.8万人次。",
        "石桥县辖9个镇和3个乡，面积1183.5平方公里，占全市的12.4%；2014年末常住人口25.48万人。",
        "铬，化学元素，符号Cr，原子序数24，相对原子质量51.9961，熔点1857℃，沸点2672℃，密度7.19g/cm³。",
        "江石站\n江石站是位于江石镇的铁路车站。\n站台\n2台4线",
    ],
    "zh_qa": [
        "把1010转成十六进制\n1010₂ = 1×2³ + 0×2² + 1×2¹ + 0×2⁰ = 8 + 2 = 10 = 0xA",
        "列出三个城市的邮编\n| 城市 | 邮编 |\n|------|------|\n| 北京 | 100000 |\n| 上海 | 200000 |\n| 广州 | 510000 |",
        "股市怎么赚钱？\n低买高卖。",
    ],
    "zh_dialogue": [
        "把“发展”写成繁体字\n發展",
        "去哪里看文档？\n看 https://example.com/docs 的第二节，里面有例子：\n```python\nif x:\n    return 1\n```",
        "你好\n你好呀",
    ],
    "code": [
        "from .numbers import add, subtract\n\n__all__ = ['add', 'subtract']\n",
        "#!/bin/sh\nset -e\nfor f in *.txt; do\n\twc -l \"$f\"\ndone\n",
    ],
}  # fmt: skip
MENU = "首页\n公司简介\n产品中心\n新闻动态\n成功案例\n人才招聘\n在线留言\n联系我们\n网站地图"
WORDS = "、".join(f"{first}{second}" for first in "红黄蓝绿青紫" for second in "花叶枝根果子皮芽")
GOODS = "\n".join(f"DN{size} 不锈钢球阀 304 {size / 10}寸 {size * 2}元/个" for size in range(15, 65, 5))
KEYWORDS = "棋牌下载 真钱棋牌 棋牌平台 手机棋牌 棋牌送金 棋牌大厅 棋牌官网 棋牌代理 在线棋牌 棋牌源码 棋牌注册 棋牌充值"
JUNK = {
    "zh_web": [
        *(MENU, WORDS, GOODS, KEYWORDS, "双色球多少钱一注", "顶！\n路过\n" * 20),
        "★首存送礼★每日返水★极速出款★天天有礼★全天客服★百家乐★捕鱼★体育★彩票★电子★真人★龙虎",
        "下列期号与号码：\n" + "\n".join(f"第{n:03}期 0{n % 9} 1{n % 7} 2{n % 5} 3{n % 3}" for n in range(1, 40)),
        "办证刻章请加微信办证刻章请加微信" * 20,
    ],
    "zh_encyclopedia": [WORDS, KEYWORDS, MENU, "同义词", "编辑编辑编辑编辑编辑编辑" * 30],
    "zh_qa": ["？", "好好好好好好好好好好好好" * 30, "= = = = =\n" * 30],
    "zh_dialogue": ["。。。。。。", "哈哈哈哈哈哈哈哈哈哈哈哈" * 30],
    "code": ["\n".join("0.5," * 400 for _ in range(9)), "/* Copyright 2020 by its authors */\n", "A" * 5000],
}


@functools.cache
def operations(recipe: str) -> Sequence[Operation]:
    return read_recipe(str(RECIPES / f"{recipe}.yaml")).build()


def cleaned(recipe: str, text: str) -> tuple[str, str]:
    """The text after the recipe, and why it falls; empty where it is kept."""
    document = Document({"text": text}, "text")
    for operation in operations(recipe):
        if isinstance(operation, Mapper):
            document.apply(operation)
        elif isinstance(operation, Filter) and (why := operation.judge(document.plain()).why):
            return "", f"{operation.name}: {why}"
    return str(document.plain()), ""


def cases(texts: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(recipe, text) for recipe, of_recipe in texts.items() for text in of_recipe]


def test_every_chinese_recipe_and_that_of_code_has_its_texts() -> None:
    assert {path.stem for path in RECIPES.glob("*.yaml")} - {"en_web"} == set(GOOD) == set(JUNK)


@pytest.mark.parametrize(("recipe", "text"), cases(GOOD))
def test_good_text_is_kept(recipe: str, text: str) -> None:
    left, why = cleaned(recipe, text)
    assert why == ""
    assert left == text.replace("www.example.com", "") if recipe == "zh_web" else left.strip() == text.strip()


@pytest.mark.parametrize(("recipe", "text"), cases(JUNK))
def test_junk_falls(recipe: str, text: str) -> None:
    assert cleaned(recipe, text)[1] != ""


def test_personal_data_is_masked_where_people_write() -> None:
    text = "有意者请打 13800138000 联系我，周末都在家，东西是去年买的，基本没有用过，价钱可以再谈。"
    assert "13800138000" not in cleaned("zh_dialogue", text)[0]
    assert "[手机号]" in cleaned("zh_qa", text)[0]

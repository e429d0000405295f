"""Sentences and code that are made up from word lists, the same for the same random generator."""

from __future__ import annotations

from random import Random


def _words(text: str) -> list[str]:
    return text.split()


PLACES = _words("江边 老城 北山 海港 村口 车站 学校 市场 图书馆 实验室 果园 河谷 广场 博物馆 工厂 医院")
PEOPLE = _words("老师 渔民 工程师 学生 医生 司机 木匠 农户 记者 画家 售货员 摄影师 研究人员 邻居 志愿者 厨师")
ACTS = _words("整理 修补 测量 记录 讨论 展示 观察 搬运 种植 翻译 比较 清洗 计算 收集 检查 描述")
THINGS = _words("渔网 账本 水位 样本 图纸 果树 旧照片 齿轮 药材 地图 乐谱 路灯 古籍 风筝 砖瓦 仪器 种子 诗稿")
TIMES = _words("清晨 傍晚 雨后 入秋以后 去年冬天 最近几周 每逢周末 节日前夕 十年以前 放学之后")
ENDS = _words("效果比预想的好 大家都很满意 花了不少工夫 还需要再看一看 成本下降了一半 引来许多人围观")
LINKS = _words("不过 后来 因此 同时 据说 实际上 相比之下 与此相关")

NOUNS = _words("river engine letter garden lamp bridge market signal harbour copper library window forest paper")
VERBS = _words("carries measures repairs explains follows divides records protects compares lifts paints counts")
QUALITIES = _words("quiet heavy narrow early bright simple careful foreign modern broken steady distant")

WORDS = _words("count total index value result buffer weight offset limit height width score delta state token")


def chinese_sentence(random: Random) -> str:
    """A sentence of two or three clauses with its full-width punctuation."""
    clauses = [
        f"{random.choice(TIMES)}，{random.choice(PLACES)}的{random.choice(PEOPLE)}"
        f"{random.choice(ACTS)}了{random.randint(2, 900)}件{random.choice(THINGS)}",
        f"{random.choice(PEOPLE)}在{random.choice(PLACES)}{random.choice(ACTS)}{random.choice(THINGS)}",
        random.choice(ENDS),
    ]
    link = random.choice(LINKS) if random.random() < 0.4 else ""
    return link + "，".join(clauses[: random.randint(2, 3)]) + random.choice("。。。！？")


def chinese(random: Random, sentences: int, paragraphs: int = 1) -> str:
    """Paragraphs of so many sentences in all."""
    parts = [[chinese_sentence(random) for _ in range(max(1, sentences // paragraphs))] for _ in range(paragraphs)]
    return "\n".join("".join(part) for part in parts)


def english(random: Random, sentences: int) -> str:
    """One paragraph."""
    made = []
    for _ in range(sentences):
        nouns, qualities = random.sample(NOUNS, 3), random.sample(QUALITIES, 2)
        made.append(
            f"The {qualities[0]} {nouns[0]} {random.choice(VERBS)} a {qualities[1]} {nouns[1]} near the "
            f"{nouns[2]} in {random.randint(1850, 2020)}."
        )
    return " ".join(made)


def python_code(random: Random) -> str:
    """A module with some functions, indented with tabs in one file of four."""
    indent = "\t" if random.random() < 0.25 else "    "
    lines = ["import math", ""]
    for _ in range(random.randint(2, 5)):
        name, first, second = random.sample(WORDS, 3)
        lines += [
            f"def {random.choice(VERBS)}_{name}({first}, {second}={random.randint(1, 99)}):",
            f'{indent}"""The {random.choice(QUALITIES)} {name} of {first}."""',
            f"{indent}if {first} < {random.randint(0, 50)}:",
            f"{indent * 2}return math.sqrt({second}) + {random.randint(1, 9)}",
            f"{indent}return [{first} * step for step in range({second})]",
            "",
        ]
    return "\n".join(lines)


def cpp_code(random: Random) -> str:
    """A source file with includes and some functions."""
    lines = ["#include <vector>", "#include <cmath>", ""]
    for _ in range(random.randint(2, 4)):
        name, first, second = random.sample(WORDS, 3)
        lines += [
            f"// The {random.choice(QUALITIES)} {name}.",
            f"double {random.choice(VERBS)}_{name}(const std::vector<double>& {first}, int {second}) {{",
            f"    double {name} = {random.randint(0, 99)};",
            f"    for (double entry : {first}) {name} += std::pow(entry, {random.randint(2, 5)}) / ({second} + 1);",
            f"    return {name};",
            "}",
            "",
        ]
    return "\n".join(lines)

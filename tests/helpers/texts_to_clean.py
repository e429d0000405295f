"""Texts that operations of cleaning recipes differ on, and the operations to compare on them."""

from __future__ import annotations

import random
from typing import Any

CHARACTERS = list(
    "aAbZ019 \t\n\r.。!！?？…’”“‘—-–,，、：；%#/*@<>&;()（）[]{}|\\_~`^+=$€£ÃÂâœŒéñ°²³¼×÷±™®©«»·´ˇ中文汉漢語"
    "著藉乾瞭麼台湾ソンツーｱ２Ａ　 \u200b\u3000\ufeff\u0301\u2028\x85\x0b\x0c\x1bΣσсж😀★◆■►Ǿǅﬁ㊙\u0130ſ\u212a"
)
FRAGMENTS = [
    "http://www.example.com/a?b=c", "www.x.cn", "a.b@c.com", "foo_bar@Q.org", "x+y@a-b.co.uk", "192.168.1.1",
    "256.300.1.2", "1.2.3", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "ftp://x", "中文:8080",
    "见 example.com/路径（说明）", "/* Copyright 2020 x */", "#include <a.h>\n", "&amp;", "&lt;b&gt;", "<li>x</li>",
    "<p>你好</p>", "<b", "\\newcommand{\\foo}{bar中\\x}\n", "\\foo ", "\\def\\a{b}\n", "\\a1 \\a ", "......", "……",
    "。”他", "！’x", "e\u0301", "Ã©", "â€œ", "“你好。”", "今天天气好。今天天气好。", "Hello. Hello. ",
    "the quick brown fox ", "ΟΔΟΣ οδος ", "\r\n", "www1.abc.com/(a(b)c)d", "https://zh.wikipedia.org/wiki/中国_(国家)。",
    "HTTPS://X.Y/Z,",
    "mailto:a@b.cc", "<div>1 &lt; 2</div>", "ＡＢＣ２３", "<script>x</script>", "http://a(b(c)d",
]  # fmt: skip
DOCUMENTS = [
    "",
    " \n\t ",
    "人工智能是研究如何使计算机模拟人类智能的学科，它包括机器学习、深度学习等。\n二〇二四年共有两千项。",
    "　　漢語是世界上使用人數最多的語言。乾隆皇帝著書，瞭解著作。\n\n　　臺灣與香港使用繁體字。",
    "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog.\nNothing else.",
    "int main(void) {\n\tprintf(\"hi\");\t/* greet */\n\treturn 0;\n}\n",
    "/* Copyright (c) 2020\n * All rights reserved. */\n#include <stdio.h>\nint x;\n",
    "联系我们：电话 010-12345678，邮箱 info@example.com.cn，网站 http://www.example.com.cn/index.html。",
    "哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈\n" * 5,
    "\\documentclass{a}\n\\newcommand{\\R}{\\mathbb{R}}\n\\def\\eps{\\varepsilon}\nlet $x \\in \\R $ and $\\eps > 0$\n",
    "<html><body><ul><li>一</li><li>二 &amp; 三</li></ul><p>正文</p></body></html>",
    "schÃ¶n und â€œgutâ€\x9d\nＦｕｌｌ　ｗｉｄｔｈ：１２３（“引号”）\r\nﬁn",
    "一 二 三 四 五 六 七 八 九 十 " * 12,
]  # fmt: skip

OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    ("chinese_convert_mapper", {"mode": "t2s"}),
    ("clean_email_mapper", {}),
    ("clean_email_mapper", {"pattern": "r'[a-z]+@'", "repl": "X"}),
    ("clean_html_mapper", {}),
    ("clean_ip_mapper", {}),
    ("clean_links_mapper", {}),
    ("clean_links_mapper", {"repl": "<URL>"}),
    ("clean_copyright_mapper", {}),
    ("expand_macro_mapper", {}),
    ("fix_unicode_mapper", {}),
    ("fix_unicode_mapper", {"normalization": "NFKC"}),
    ("punctuation_normalization_mapper", {}),
    ("remove_repeat_sentences_mapper", {}),
    (
        "remove_repeat_sentences_mapper",
        {"lowercase": True, "ignore_special_character": False, "min_repeat_sentence_length": 1},
    ),
    ("remove_specific_chars_mapper", {}),
    ("whitespace_normalization_mapper", {}),
    ("alphanumeric_filter", {"min_ratio": 0.0, "max_ratio": 0.9}),
    ("average_line_length_filter", {"min_len": 10, "max_len": 150}),
    ("character_repetition_filter", {"max_ratio": 0.4}),
    ("character_repetition_filter", {"rep_len": 2, "max_ratio": 0.4, "reversed_range": True}),
    ("maximum_line_length_filter", {"max_len": 100}),
    ("special_characters_filter", {}),
    ("text_length_filter", {"min_len": 12, "min_closed_interval": False}),
    ("words_num_filter", {}),
    ("word_repetition_filter", {}),
    ("word_repetition_filter", {"rep_len": 2, "max_ratio": 0.1}),
]


def texts_to_clean(count: int, seed: int) -> list[str]:
    """The documents above, and as many put together at random from characters and fragments."""
    generator = random.Random(seed)
    texts = list(DOCUMENTS)
    for _ in range(count):
        length = generator.choice([1, 2, 3, 5, 10, 30, 100])
        texts.append(
            "".join(
                generator.choice(CHARACTERS) if generator.random() < 0.6 else generator.choice(FRAGMENTS)
                for _ in range(length)
            )
        )
    return texts

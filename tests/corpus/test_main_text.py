"""Menus, foots and scripts go, what the page says stays; a missing library is told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines
from steel_megatron.config import ConfigError
from steel_megatron.corpus import RejectedRecordError, convert_corpus, main_text

SAYS = [
    "绿茶要用八十度的水来泡，水太热茶就苦，水太凉香气不出。",
    "先温杯，再投茶，然后注水至七分满，静置两分钟即可饮用，这样泡出来的茶汤清澈，香气持久。",
    "存放绿茶要避光、防潮，密封后放在冰箱里可以保存一年左右。",
]
PAGE = f"""<!DOCTYPE html><html><head><title>绿茶怎么泡 - 茶网</title><script>var menu = "菜单";</script></head><body>
<div class="nav"><ul><li><a href="/">首页</a></li>
<li><a href="/tea">茶叶大全</a></li><li><a href="/login">登录</a></li></ul></div>
<div class="article"><h1>绿茶怎么泡</h1>{"".join(f"<p>{line}</p>" for line in SAYS)}</div>
<div class="footer">版权所有 © 2020 茶网 京ICP备12345678号 <a href="/about">关于我们</a></div></body></html>"""


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
def test_the_main_text_is_left(extractor: str) -> None:
    pytest.importorskip(extractor)
    text = main_text.main_text(PAGE, {"extractor": extractor})
    assert all(line in text for line in SAYS)
    assert not any(word in text for word in ("登录", "ICP", "菜单", "关于我们"))


def test_all_text_is_all_text() -> None:
    text = main_text.main_text(PAGE, {"extractor": "all"})
    assert text.split("\n") == [
        "首页",
        "茶叶大全",
        "登录",
        "绿茶怎么泡",
        *SAYS,
        "版权所有 © 2020 茶网 京ICP备12345678号 关于我们",
    ]


@pytest.mark.parametrize("html", ["", " ", "<html><script>x</script></html>"])
def test_a_page_that_says_nothing_is_refused(html: str) -> None:
    for extractor in main_text.EXTRACTOR.choices:
        with pytest.raises(RejectedRecordError, match="no_main_text"):
            main_text.main_text(html, {"extractor": extractor})


def test_a_missing_library_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(main_text.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.html").write_text(PAGE)
    with pytest.raises(ConfigError, match=r"pip install \"steel-megatron\[web\]\""):
        convert_corpus("html", [tmp_path], tmp_path / "out.jsonl")
    convert_corpus("html", [tmp_path], tmp_path / "out.jsonl", options={"extractor": "all"})
    assert read_json_lines(tmp_path / "out.jsonl")[0]["id"] == "a.html"

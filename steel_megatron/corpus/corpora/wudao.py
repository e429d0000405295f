"""WuDaoCorpora 2.0 (WuDaoCorpus2.0_base_200G): Chinese pages of many kinds, in .json files that are one array each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, name_field, optional_string, string
from steel_megatron.corpus.published import CATEGORY


def text_of(record: Mapping[str, Any], options: Options) -> str:
    kind = optional_string(record, "dataType").strip()
    if options["category"] and kind not in {each.strip() for each in options["category"].split(",")}:
        raise RejectedRecordError("other_category", kind)
    title, content = optional_string(record, "title").strip(), string(record, "content").strip()
    if not content:
        raise RejectedRecordError("no_body", repr(title))
    # Many pages begin with their own title.
    return content if content.startswith(title) else f"{title}\n{content}"


CORPUS = Corpus(
    name="wudao",
    about="WuDaoCorpora 2.0, Chinese pages of many kinds, 200 GB",
    fields={
        "title": "the page's title, often empty",
        "content": "the text",
        "dataType": "its kind, as 科技 or 孕育常识",
        "uniqueKey": "its name",
    },
    template="title where content does not begin with it, content, on lines of their own",
    example={
        "id": 7,
        "uniqueKey": "fdcadef664635a5a757d4d529efc218a",
        "titleUkey": "cc470d358425a945fab97ef229cd8090",
        "dataType": "科技",
        "title": "深海探测器完成首航",
        "content": "新华社报道，探测器昨日返回港口。",
    },
    text=text_of,
    identity=name_field("uniqueKey"),
    options=(CATEGORY,),
    reasons={"other_category": "its category is none of --category", "no_body": "content is empty"},
    download="WuDaoCorpus2.0_base_200G.rar (data.baai.ac.cn, scidb.cn)",
    licence="of BAAI, for research; see its page",
    caution="The .rar is unpacked first. Fields as published scripts and samples give them.",
)

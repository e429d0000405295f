"""What people send to be trained on: a questionnaire as csv or xlsx, and texts as txt, PDF, docx or EPUB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Document, Kind, Options
from steel_megatron.corpus.table_text import COLUMNS, TABLE_REASONS, row_text

# Columns that survey services add, and those that say who somebody is: never text unless named.
_NOT_TEXT = re.compile(
    r"(?:序号|编号|id|ip|来自ip|来源(?:详情|渠道)?|总分|所用时间|时间戳|timestamp|start time|completion time"
    r"|.*(?:提交|开始|结束|填写|答卷|答题).*时间|.*(?:姓名|昵称|手机|电话|邮箱|邮件地址|微信号?|qq号?|身份证|联系方式|ip地址)"
    r"|(?:your )?(?:full )?name|.*e-?mail.*|.*phone.*)[:：*?？\s]*",
    re.IGNORECASE,
)


def text_of(record: Mapping[str, Any], options: Options) -> str:
    if isinstance(record, Document):
        return record["text"]
    return row_text(record, options, leave_out=lambda column: bool(_NOT_TEXT.fullmatch(column)))


def identity_of(record: Mapping[str, Any], options: Options) -> str | None:
    return record["name"] if isinstance(record, Document) else None


CORPUS = Corpus(
    name="contributed",
    about="what people send: questionnaires (csv, xlsx), txt, PDF, docx, EPUB",
    fields={
        "questionnaire": "each row; columns of the survey service, names and addresses are left out",
        "txt, PDF, docx, EPUB": "the whole file",
    },
    template="question: answer, on a line each; of a single question, the answer alone; files as they are",
    example={"序号": "1", "提交答卷时间": "2024/3/1 8:00", "您想让模型学会什么": "我家乡的方言。", "您的姓名": "某某"},
    kinds=(Kind.TEXT, Kind.CSV, Kind.WORKBOOK, Kind.PDF, Kind.DOCX, Kind.EPUB),
    text=text_of,
    identity=identity_of,
    options=(COLUMNS,),
    reasons=TABLE_REASONS,
)

"""Stand-ins of the published corpora that data.yaml offers: their folders, packings and fields, texts made up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steel_megatron.corpus import find_corpus

# Source of data.yaml → a file as it is published.
FILES = {
    "ultra_fineweb_zh": "Ultra-FineWeb/data/ultrafineweb_zh/ultrafineweb-zh-part-001-of-256.parquet",
    "fineweb_edu_zh": "Fineweb-Edu-Chinese-V2.1/4_5/00001.parquet",
    "cci3_hq": "CCI3-HQ/data/part_000001.jsonl",
    "cci4_zh": "CCI4.0-M2-Base-v1/zh_cc-high-loss0/000_00000.jsonl",
    "fineweb2_zh": "fineweb-2/data/cmn_Hani/train/000_00000.parquet",
    "finepdfs_zh": "finepdfs/data/cmn_Hani/train/000_00000.parquet",
    "industry_corpus2_zh": "IndustryCorpus2/chinese/high/rank_00001.parquet",
    "telechat": "TeleChat-PTD/data/0.jsonl.gz",
    "wudao": "WuDaoCorpus2.0_base_200G/part-2021009337.json",
    "chinese_web_text2": "ChineseWebText2.0/part-0001.jsonl.gz",
    "map_cc_baike": "MAP-CC/zh_baike.jsonl.gz",
    "open_web_math": "open-web-math/data/train-00000-of-00114.parquet",
    "ultradata_math": "UltraData-Math/data/UltraData-Math-L2-preview/UltraData-Math-L2-part-00001-of-00138.parquet",
}


def write_sample(folder: Path, source: str, corpus: str, texts: Sequence[str]) -> None:
    """A file of one source, with a record for each text."""
    example = dict(find_corpus(corpus).example)
    field = next(name for name in ("text", "content", "data") if name in example)
    records: list[dict[str, Any]] = [example | {field: text} for text in texts]
    path = folder / FILES[source]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False, indent=4), encoding="utf-8")
    elif source == "map_cc_baike":  # cut for its size
        packed = gzip.compress(lines)
        half = len(packed) // 2
        path.with_name(f"{path.name}.partaa").write_bytes(packed[:half])
        path.with_name(f"{path.name}.partab").write_bytes(packed[half:])
    else:
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)

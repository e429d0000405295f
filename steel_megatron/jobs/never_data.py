"""What lies in folders and is never data: what our own commands leave, hidden files, and what systems strew about."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from steel_megatron.jobs.durable import PARTIAL

MANIFEST, REJECTS, DROPS = ".manifest.json", ".rejects.jsonl", ".drops.jsonl.zst"
DROPS_FOLDER = ".drops"  # of shards
REPORT_JSON, REPORT_HTML, RANKS = ".report.json", ".report.html", ".ranks.json"
DEDUP_WORK = ".work"
DEDUP_REPORT, DEDUP_DUPLICATES, DEDUP_REJECTS = "report.json", "duplicates.jsonl.zst", "rejects.jsonl"

OURS, HIDDEN, JUNK = "of our own", "hidden", "of the system"
DATASETS = "of Hugging Face datasets, beside its tables"
_OUR_ENDINGS = (MANIFEST, REJECTS, DROPS, REPORT_JSON, REPORT_HTML, RANKS, PARTIAL)
_OUR_FOLDERS = (".jsonl.parts", ".jsonl.gz.parts", ".jsonl.zst.parts", PARTIAL, DROPS_FOLDER)
_JUNK = {"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini", "lost+found"}
# Names that anybody may give a file: no data where the file beside them (first), with these keys, says so.
_BESIDE: dict[str, tuple[set[str], str, tuple[str, ...]]] = {
    DEDUP_REPORT: ({"sources", "near_by_jaccard"}, OURS, (DEDUP_REPORT, DEDUP_DUPLICATES, DEDUP_REJECTS)),
    "tokenizer_config.json": (
        {"tokenizer_class"},
        OURS,
        (
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "vocab.json",
            "config.json",
            "generation_config.json",
        ),
    ),
    # Beside the tables of a saved data set lie what it says of them, and results of map and filter.
    "dataset_info.json": ({"features", "citation"}, DATASETS, ("dataset_info.json", "state.json", "cache-*.arrow")),
    "dataset_dict.json": ({"splits"}, DATASETS, ("dataset_dict.json",)),
}

MOST_WITNESS_BYTES = 64 << 20

Reader = Callable[[str], "bytes | None"]


def why_never(name: str, read: Reader | None = None) -> str:
    """The reason why a file is never data, or an empty text.

    Args:
        name: below what was given, with ``/``; a folder's ends with it.
        read: gives the content of a file by its name, None where there is none.
    """
    parts = PurePosixPath(name).parts
    *folders, last = parts if parts else ("",)
    if name.endswith("/"):
        folders, last = [*folders, last], ""
    if DEDUP_WORK in folders or any(folder.endswith(_OUR_FOLDERS) for folder in folders) or last.endswith(_OUR_ENDINGS):
        return OURS
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    if any(part in _JUNK for part in parts):
        return JUNK
    if read is not None:
        for witness, (keys, reason, names) in _BESIDE.items():
            named = any(fnmatchcase(last, each) for each in names)
            if named and _says_so(witness, keys, read, "".join(f"{folder}/" for folder in folders)):
                return reason
    return ""


def _says_so(witness: str, keys: set[str], read: Reader, folder: str) -> bool:
    """Whether the witness in a folder is what its name says."""
    if witness == DEDUP_REPORT and read(f"{folder}{DEDUP_WORK}/plan.json") is not None:
        return True  # of a run that is not finished
    try:
        content = json.loads(read(folder + witness) or b"")
    except ValueError:
        return False
    return isinstance(content, dict) and keys <= content.keys()

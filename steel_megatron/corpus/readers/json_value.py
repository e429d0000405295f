"""One JSON value from its bytes, taking what Python's own parser takes."""

from __future__ import annotations

import json
from typing import Any

import orjson

from steel_megatron.corpus.corpus import RejectedRecordError


def parse_json(data: bytes) -> Any:
    """The value; NaN and half surrogates are taken, which orjson refuses and published corpora hold.

    Raises:
        RejectedRecordError: ``bad_utf8`` or ``bad_json``.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RejectedRecordError("bad_utf8", f"{error.reason} at byte {error.start} of the record") from None
    except ValueError as error:
        raise RejectedRecordError("bad_json", f"{error}{_hint(data, str(error))}") from None
    except RecursionError:
        raise RejectedRecordError("bad_json", "nested too deeply") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """The value, which must be an object.

    Raises:
        RejectedRecordError: it is none, or no JSON.
    """
    value = parse_json(data)
    if not isinstance(value, dict):
        raise RejectedRecordError("not_an_object", f"it is {type(value).__name__}")
    return value


def _hint(data: bytes, says: str) -> str:
    """What may be the cause, where it is a known one."""
    if says.startswith("Extra data"):
        if b"}\r{" in data:
            return "; lines end as on old Macs: tr '\\r' '\\n' mends it"
        return "; several objects in a line: jq -c . writes one a line"
    return "; it is UTF-16: iconv -f UTF-16 -t UTF-8 mends it" if data[1:2] == b"\0" or data[:1] == b"\0" else ""

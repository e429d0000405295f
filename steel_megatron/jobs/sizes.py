"""Sizes as people write them: K, M, G and T are powers of 1,000 everywhere, Ki, Mi, Gi and Ti of 1,024."""

from __future__ import annotations

import re

from steel_megatron.config.errors import ConfigError

_SIZE = re.compile(r"((?:\d+(?:\.\d*)?|\.\d+)(?:e\+?\d\d?)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def parse_size(text: str, flag: str = "") -> int:
    """Bytes of ``200M``, ``5GB``, ``2GiB`` or a number.

    Args:
        flag: named in the error.

    Raises:
        ConfigError: it is no size above 0.
    """
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match is not None and (match[2] or not match[3]):
        power = " kmgt".index(match[2].lower() or " ")
        size = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if size <= 0:
        raise ConfigError(
            f"{flag or 'size'} {text}",
            rule="it is a number of bytes above 0; K, M, G, T are powers of 1,000, Ki, Mi, Gi, Ti of 1,024",
            fix="for example 200M or 4GiB",
        )
    return size

"""Whether a commit's subject is ``area: what`` in at most 72 characters. Usage: python tools/commit_subject.py FILE"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72  # characters
SUBJECT = re.compile(r"[a-z0-9_/.,()& -]+: \S")
MADE_BY_GIT = re.compile(r"(Merge|Revert|fixup!|squash!|amend!) ")


def fault(message: str) -> str:
    """What is wrong with the first line of a message; empty if nothing is."""
    subject = message.partition("\n")[0].rstrip()
    if MADE_BY_GIT.match(subject):
        return ""
    if len(subject) > LONGEST:
        return f"the subject has {len(subject)} characters, {LONGEST} at most: {subject}"
    if not SUBJECT.match(subject):
        return f'the subject is not "area: what", such as "tokens: read frames apart": {subject}'
    return ""


def main() -> int:
    """Prints the fault; exit status 1 if there is one."""
    found = fault(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if found:
        print(found, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())

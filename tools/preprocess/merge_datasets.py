"""Megatron-LM's merge_datasets.py by name and flags; the same as ``steel merge``."""

from __future__ import annotations

import sys

from steel_megatron.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["merge", *sys.argv[1:]]))

"""Writes docs/training_flags.md from the knobs, so that the page cannot lag behind the code.

Usage: python tools/docs/training_flags.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from steel_megatron.config import KNOBS
from steel_megatron.config.flags import ALIASES
from steel_megatron.config.knob import Follows, Knob
from steel_megatron.config.registry import Registry
from steel_megatron.config.run import SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training_flags.md"

HEAD = """# Training flags

Written by `python tools/docs/training_flags.py` from the code; do not edit.

A run is a YAML file (`--config run.yaml`) with the sections below; bare knob names at the top level work too. A flag
overrides the file, the file overrides a preset (`--preset`, or `preset:` in the file), a preset overrides the
defaults. Names are Megatron-LM's where Megatron has one; in flags, dashes and underscores are the same. A switch that
is on by default is turned off by `--no-…`. A number outside its range, and NaN or an infinity anywhere, is refused
before any work. The effective configuration is written to `SAVE/config.yaml` and stands in
every checkpoint.

```yaml
preset: tinyllama_1.1b
training: {seq_length: 2048, micro_batch_size: 8, global_batch_size: 512, train_iters: 100000}
optimizer: {lr: 4.0e-4, min_lr: 4.0e-5, lr_warmup_iters: 2000}
data: {data_path: [0.7, data/web_text_document, 0.3, data/code_text_document], tokenizer_model: tokenizer}
checkpoint: {save: runs/first, save_interval: 1000}
```
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for section, cls in SECTIONS.items():
        intro = " ".join((cls.__doc__ or "").split())
        parts += [
            f"\n## {section}\n\n{intro}\n",
            "| flag | default | unit | range | meaning |",
            "| --- | --- | --- | --- | --- |",
        ]
        parts += [row(knob) for knob in KNOBS.values() if knob.section == section]
        parts += [
            f"| `{flag}` | | | | {text} |"
            for flag, (name, _, text) in ALIASES.items()
            if KNOBS[name].section == section
        ]
    return "\n".join(parts) + "\n"


def row(knob: Knob) -> str:
    """One line of a section's table."""
    switch = {True: "on", False: "off"}.get(knob.default) if knob.kind is bool else None
    default = f"`{switch or knob.default_words}`" if knob.default not in (None, ()) else ""
    default = str(knob.default) if isinstance(knob.default, Follows) else default
    meaning = knob.doc + _choices(knob)
    allowed = "" if knob.allowed is None else str(knob.allowed)
    return f"| `{knob.flag}` | {default} | {knob.unit} | {allowed} | {meaning.replace('|', '&#124;')} |"


def _choices(knob: Knob) -> str:
    shipped = knob.choices.shipped if isinstance(knob.choices, Registry) else knob.choices
    names = ", ".join(f"`{choice}`" for choice in shipped)
    more = ["your own: `package.module:Name`, `path.py:Name`"] if shipped is not knob.choices else []
    return f" One of {', or '.join(filter(None, [names, *more]))}." if knob.choices else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    if parser.parse_args().check:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

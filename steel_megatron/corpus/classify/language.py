"""The classifier of languages that is shipped; ``tools/language_model.py`` makes it."""

from __future__ import annotations

from pathlib import Path

LANGUAGE_MODEL = Path(__file__).with_name("language.classifier")

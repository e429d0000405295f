"""Gathers the pages of the site in build/pages: docs/, what stands outside it, and the reference of the package.

mkdocs calls this when it starts (``hooks`` in mkdocs.yml). The reference has a page per folder of the package with what
its modules' docstrings say, read from the text: nothing is imported. A link to what the site has not, such as a source
file, becomes plain words.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "steel_megatron"
# Pages of the repository that the site has under another name; each may have a Chinese twin.
OUTSIDE = {
    "index": "README",
    "contributing": "CONTRIBUTING",
    "changelog": "CHANGELOG",
    "pretrain_1b": "examples/pretrain_1b/README",
}
TWIN, SITE_TWIN = ".zh-CN", ".zh"  # how a Chinese page ends here, and on the site
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Gathers the pages, and writes the reference's into the navigation."""
    gather(Path(config.docs_dir))
    assert config.nav is not None
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Reference") == "api/":
            entry["Reference"] = [{name.removeprefix(f"{PACKAGE}."): page} for name, page in reference_pages()]
    return config


def gather(pages: Path) -> None:
    """Writes every page of the site into an empty folder."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("*.md"))
    sources = {path.relative_to(ROOT / "docs").as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
    for page, source in OUTSIDE.items():
        sources |= {f"{page}{ending}.md": ROOT / f"{source}{ending}.md" for ending in ("", TWIN)}
    for page, path in sources.items():
        if path.is_file():
            _write(pages / page.replace(TWIN, SITE_TWIN), relinked(path.read_text(encoding="utf-8"), path))
    for name, page in reference_pages():
        _write(pages / page, reference(name))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def relinked(text: str, page: Path) -> str:
    """The text with its links as the site has them; what the site has not loses its link and keeps its words."""
    return LINK.sub(lambda found: _relinked(found, page), text)


def _relinked(found: re.Match[str], page: Path) -> str:
    words, target, anchor = found[1], (page.parent / found[2]).resolve(), found[3] or ""
    path = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else ""
    if path.endswith(f"{TWIN}.md") and TWIN not in page.name:
        return words  # the site's menu leads to the other language
    path = path.replace(f"{TWIN}.md", ".md")  # within a language the site finds the twin itself
    names = {f"{source}.md": name for name, source in OUTSIDE.items()}
    stem = names.get(path) or path.removeprefix("docs/").removesuffix(".md") * path.startswith("docs/")
    if not stem:
        return words
    return f"[{words}]({stem}{'.md' if path.endswith('.md') else ''}{anchor})"


def reference_pages() -> list[tuple[str, str]]:
    """(dotted folder, page) of every folder of the package that holds modules."""
    folders = sorted({path.parent for path in (ROOT / PACKAGE).rglob("*.py") if path.name != "__init__.py"})
    names = [".".join(folder.relative_to(ROOT).parts) for folder in folders if folder != ROOT / PACKAGE]
    return [(name, f"api/{name.removeprefix(PACKAGE + '.')}.md") for name in names]


def reference(name: str) -> str:
    """The page of one folder."""
    folder = ROOT.joinpath(*name.split("."))
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    parts = [f"# {name}\n", f"::: {name}\n    options: {{members: false, show_root_heading: false}}\n"]
    return "\n".join(parts + [f"::: {name}.{module}\n" for module in modules])

"""The files that a converting run leaves: the documents, their manifest and the rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import ConfigError
from steel_megatron.corpus.convert.part import DOCUMENTS, FORMAT, REJECTED, ConvertJob, PartResult
from steel_megatron.corpus.convert.parts import Part
from steel_megatron.jobs.durable import Outputs, beside, concatenate, refuse_other
from steel_megatron.jobs.files import state_of
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.never_data import MANIFEST, REJECTS
from steel_megatron.jobs.progress import Progress

SUFFIXES = {".jsonl": "", ".jsonl.gz": "gz", ".jsonl.zst": "zst"}


@dataclass(frozen=True)
class InputRecord:
    """A file as it was when it was read."""

    name: str
    path: str
    bytes: int
    version: str

    @classmethod
    def of(cls, file: Input) -> InputRecord:
        state = state_of(file.location)
        return cls(file.name, file.location, state.bytes, state.version)


@dataclass(frozen=True)
class ConvertManifest:
    """``OUTPUT.manifest.json``, written last: an output whose manifest is there is whole."""

    corpus: str
    options: Mapping[str, str]
    source: str
    inputs: tuple[InputRecord, ...]
    passed_over: tuple[str, ...] = ()  # files of folders and archives that hold no records of the corpus
    suspects: Mapping[str, str] = field(default_factory=dict)  # files that are not what their names say
    records: int = 0
    documents: int = 0
    text_bytes: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    output_bytes: int = 0
    output_sha256: str = ""
    code_version: str = __version__
    format: int = FORMAT

    @staticmethod
    def path(output: Path) -> Path:
        return beside(output, MANIFEST)

    @staticmethod
    def rejects_path(output: Path) -> Path:
        return beside(output, REJECTS)

    @classmethod
    def read(cls, output: Path) -> ConvertManifest:
        """The manifest of an output.

        Raises:
            ValueError, TypeError, KeyError, OSError: it is not there, or damaged.
        """
        content: dict[str, Any] = json.loads(cls.path(output).read_bytes())
        content["inputs"] = tuple(InputRecord(**record) for record in content["inputs"])
        content["passed_over"] = tuple(content["passed_over"])
        return cls(**content)


def packing_of_name(output: Path) -> str:
    """How the output is packed.

    Raises:
        ConfigError: its name ends otherwise.
    """
    for suffix, packing in SUFFIXES.items():
        if output.name.endswith(suffix):
            return packing
    raise ConfigError(f"--output {output}", rule=f"it ends in {', '.join(SUFFIXES)}")


def finished_before(output: Path, wanted: ConvertManifest) -> ConvertManifest | None:
    """The manifest of an output made from the same files and settings; None when nothing is there.

    Raises:
        DataError: something else is there.
    """
    if not output.exists() and not ConvertManifest.path(output).exists():
        return None
    try:
        manifest = ConvertManifest.read(output)
        difference = _difference(manifest, wanted, output)
    except FileNotFoundError:
        difference = "it has no manifest: another tool made it, or a run was killed while finishing it"
    except (ValueError, TypeError, KeyError, AttributeError):
        difference = "its manifest cannot be read"
    else:
        if not difference:
            return manifest
    refuse_other(output, difference)


def _difference(manifest: ConvertManifest, wanted: ConvertManifest, output: Path) -> str:
    for name in ("corpus", "source", "options", "format"):
        if getattr(manifest, name) != getattr(wanted, name):
            return f"it was made with {name} {getattr(manifest, name)}, now {getattr(wanted, name)}"
    made = [(file.name, file.bytes, file.version) for file in manifest.inputs]
    if made != [(file.name, file.bytes, file.version) for file in wanted.inputs]:
        return "it was made from other files, or they have changed since"
    size = output.stat().st_size if output.exists() else None
    if size is None:
        return "only its manifest is left"
    if size != manifest.output_bytes:
        return f"it has {size:,} bytes, its manifest says {manifest.output_bytes:,}"
    return ""


def publish(
    output: Path,
    wanted: ConvertManifest,
    job: ConvertJob,
    parts: Sequence[Part],
    results: Sequence[PartResult],
    passed_over: Sequence[Input],
) -> ConvertManifest:
    """Joins the parts and gives the files their names, the manifest last. What was there goes first."""
    outputs = Outputs(output, ("", REJECTS, MANIFEST))
    documents = [job.task(part).file(DOCUMENTS) for part in parts]
    with (
        Progress("join parts", sum(path.stat().st_size for path in documents)) as progress,
        outputs.writing("") as file,
    ):
        size, sha256 = concatenate(documents, file, progress.add)
    reasons: Counter[str] = Counter()
    for result in results:
        reasons.update(result.rejects or {})
    if reasons:
        with outputs.writing(REJECTS) as file:
            concatenate((job.task(part).file(REJECTED) for part in parts), file)
    manifest = replace(
        wanted,
        passed_over=(*(file.name for file in passed_over), *(name for one in results for name in one.passed_over)),
        records=sum(result.records for result in results),
        documents=sum(result.documents for result in results),
        text_bytes=sum(result.text_bytes for result in results),
        rejects=dict(sorted(reasons.items())),
        output_bytes=size,
        output_sha256=sha256,
    )
    outputs.write_text(MANIFEST, json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
    outputs.publish()
    return manifest

"""What an output was made of, in one form for all commands; it is written last, so an output that has one is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.jobs.durable import beside, refuse_other
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.jobs.never_data import MANIFEST
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.shards import size_of

NO_MANIFEST = "it has no manifest: another tool made it, or a run was killed while finishing it"
SKIP_DAMAGED = "skip_damaged"  # a setting that changes nothing where no input is damaged
SHOWN = 200  # characters of a setting in an error


@dataclass(frozen=True)
class JobManifest:
    """
    Args:
        command: of ``steel``.
        settings: all that the outputs depend on beside the inputs.
        outputs: by what they hold; their paths are from the manifest's folder.
        text_bytes: UTF-8 bytes of the documents' texts; 0 where they are not counted.
        rejects: reason → records that gave no document.
        passed_over: files of folders and archives that hold no records.
        suspects: input files that are not what their names say, and what they are.
        damaged: input files of which not all could be read, and what was found, with ``--skip-damaged``.
        shards: files of the documents, in order, where they are in a folder.
        format: of what is written; another number makes an output of an earlier version another output.
    """

    command: str
    settings: Mapping[str, Any]
    inputs: Sequence[InputFile]
    outputs: Mapping[str, FileRecord] = field(default_factory=dict)
    records: int = 0
    documents: int = 0
    text_bytes: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    passed_over: Sequence[str] = ()
    suspects: Mapping[str, str] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    shards: Sequence[FileRecord] = ()
    code_version: str = __version__
    format: int = 1

    @staticmethod
    def path(output: Path) -> Path:
        return beside(output, MANIFEST)

    def content(self) -> dict[str, Any]:
        """As JSON holds it."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> JobManifest:
        """From JSON, also of version 0.1.0, and also of a report that holds more.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        given = dict(content) if "command" in content else _of_first_version(content)
        given["inputs"] = tuple(InputFile(**file) for file in given["inputs"])
        given["outputs"] = {name: FileRecord(**record) for name, record in given["outputs"].items()}
        given["passed_over"] = tuple(given["passed_over"])
        given["shards"] = tuple(FileRecord(**shard) for shard in given.get("shards", ()))
        return cls(**{name.name: given[name.name] for name in fields(cls) if name.name in given})

    @classmethod
    def read(cls, output: Path) -> JobManifest:
        """The manifest beside an output.

        Raises:
            OSError: it is not there.
            ValueError, TypeError, KeyError, AttributeError: it cannot be read.
        """
        return cls.of(json.loads(cls.path(output).read_bytes()))

    def difference(self, wanted: JobManifest) -> str:
        """In what this is not of the files and settings wanted, for the rest of a sentence; empty where it is."""
        settings = wanted.content()["settings"]
        skip_damaged = settings.pop(SKIP_DAMAGED, False)
        if self.damaged and not skip_damaged:
            return f"{next(iter(self.damaged))} is damaged and was read in part (--skip-damaged)"
        for name, value in {**settings, "format": wanted.format}.items():
            made = {**self.settings, "format": self.format}.get(name)
            if made != value:
                return f"it was made with {name} {_shown(made)}, now {_shown(value)}"
        same = len(self.inputs) == len(wanted.inputs) and all(map(_is_same, self.inputs, wanted.inputs))
        return "" if same else "it was made from other files, or they have changed since"


def _shown(setting: Any) -> str:
    text = str(setting)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _is_same(made: InputFile, wanted: InputFile) -> bool:
    """Whether a file is there as it was; a folder of files may be moved."""
    place = made.name == wanted.name if made.name else made.path == wanted.path
    return place and (made.source, made.bytes, made.version) == (wanted.source, wanted.bytes, wanted.version)


def finished_before(output: Path, wanted: JobManifest) -> JobManifest | None:
    """The manifest of an output made from the same files and settings; None when nothing is there.

    Raises:
        DataError: something else is there.
    """
    if not output.exists() and not JobManifest.path(output).exists():
        return None
    try:
        manifest = JobManifest.read(output)
    except FileNotFoundError:
        difference = NO_MANIFEST
    except (ValueError, TypeError, KeyError, AttributeError):
        difference = "its manifest cannot be read"
    else:
        said, there = manifest.outputs["documents"].bytes, size_of(output)
        difference = manifest.difference(wanted)
        if not difference and there is None:
            difference = "only its manifest is left"
        elif not difference and there != said:
            difference = f"it has {there:,} bytes, its manifest says {said:,}"
        if not difference:
            return manifest
    refuse_other(output, difference)


def _of_first_version(content: Mapping[str, Any]) -> dict[str, Any]:
    """What version 0.1.0 wrote, each command in its own way, in today's form."""
    given = json.loads(json.dumps({"passed_over": (), **content}))
    if "plan" in given or "parts" in given:  # the report of dedup, or what is in its work folder
        plan = given.get("plan", given)
        given |= {"command": "dedup", "format": plan["format"], "outputs": {}, "inputs": plan["inputs"]}
        given["settings"] = {**plan["settings"], "evaluation_sets": plan["evaluation_sets"]}
    elif "made_of" in content:
        made_of = given["made_of"]
        given |= {"command": "clean", "format": made_of["format"], "inputs": made_of["inputs"]}
        given["settings"] = {name: made_of[name] for name in ("steps", "text_key", "tokenizer")}
    else:
        given["command"] = "convert"
        given["settings"] = {name: given[name] for name in ("corpus", "options", "source")}
    for file in [*given["inputs"], *given["settings"].get("evaluation_sets", ())]:
        file.setdefault("name", "")  # clean told none
        file["version"] = str(file.pop("mtime_ns", file.get("version")))
        file.pop("output", None)
        file["sha256"] = ""
    if "outputs" not in given:
        hashed = content.get("output_sha256", "")
        given["outputs"] = {"documents": FileRecord("", content["output_bytes"], hashed).__dict__}
    return given

"""Several datasets of one token type and one tokenizer joined into one, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from steel_megatron.config import DataError
from steel_megatron.jobs.durable import refuse_other
from steel_megatron.jobs.hashes import HASH_BLOCK, BlockHash, hash_file, hash_like
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.tasks import writing_dataset
from steel_megatron.tokens.indexed import SUFFIXES, IndexedDataset, IndexedWriter
from steel_megatron.tokens.manifest import Manifest, manifest_path, output_records
from steel_megatron.tokens.manifest_check import check_hash
from steel_megatron.tokens.merge.manifests import join_manifests, read_manifests


@dataclass(frozen=True)
class Merged:
    """What :func:`merge` wrote; ``manifest`` is None when the inputs had none."""

    prefix: str
    inputs: tuple[str, ...]
    dtype: str
    documents: int
    sequences: int
    tokens: int
    manifest: Manifest | None


def merge(
    inputs: Iterable[str | os.PathLike[str]],
    output_prefix: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    use_manifests: bool = True,
) -> Merged:
    """Writes ``{output_prefix}.bin``, ``.idx`` and, if the inputs have manifests, ``.manifest.json``.

    The documents of the first input come first, and so on. Everything that can be checked is checked before the first
    byte is copied, except the hashes of the inputs, which are compared with their manifests on the way.

    Args:
        inputs: prefixes, ``.bin`` or ``.idx`` files, and folders, whose datasets are taken by name.
        overwrite: replaces a dataset that is there.
        use_manifests: False neither reads the inputs' manifests nor writes one.

    Raises:
        DataError: no dataset, a damaged one, or datasets that do not go together.
    """
    output = os.fspath(output_prefix)
    prefixes = find_datasets(inputs, output)
    check_output(output, prefixes, overwrite)
    dtype = check_types(prefixes)
    manifests = read_manifests(prefixes) if use_manifests else {}
    with writing_dataset(output):
        with IndexedWriter(output, dtype) as writer:
            bin_hash = copy_datasets(writer, prefixes, manifests)
            manifest_path(output).unlink(missing_ok=True)  # it tells of the dataset that is about to be replaced
        counts = (writer.document_count, writer.sequence_count, writer.token_count)
        manifest = None
        if manifests:
            outputs = output_records(output, bin_hash)
            manifest = join_manifests(list(manifests.values()), outputs)
            manifest.write(output)
    return Merged(output, tuple(prefixes), dtype, *counts, manifest)


def find_datasets(inputs: Iterable[str | os.PathLike[str]], output_prefix: str) -> list[str]:
    """The prefixes of the inputs in order, each once; the output is not taken from a folder that it lies in.

    Raises:
        DataError: a folder without any.
    """
    prefixes: list[str] = []
    for path in inputs:
        given = os.fspath(path)
        if os.path.isdir(given):
            prefixes += _datasets_in(given, output_prefix)
        else:
            prefixes.append(os.path.splitext(given)[0] if given.endswith(SUFFIXES) else given)
    return list(dict.fromkeys(prefixes))


def _datasets_in(folder: str, output_prefix: str) -> list[str]:
    names = {os.path.splitext(name)[0] for name in os.listdir(folder) if name.endswith(SUFFIXES)}
    prefixes = [os.path.join(folder, name) for name in sorted(names)]
    prefixes = [prefix for prefix in prefixes if not _same_path(prefix, output_prefix)]
    if not prefixes:
        raise DataError(f"{folder} holds no dataset", rule="a folder to merge holds .bin and .idx files")
    return prefixes


def check_output(output: str, prefixes: Sequence[str], overwrite: bool) -> None:
    """Refuses to write over an input, and over anything without ``overwrite``."""
    if any(_same_path(prefix, output) for prefix in prefixes):
        raise DataError(
            f"{output} is both an input and the output",
            rule="the inputs stay as they are",
            fix="choose another --output-prefix",
        )
    files = [output + suffix for suffix in SUFFIXES] + [str(manifest_path(output))]
    there = [path for path in files if os.path.exists(path)]
    if there and not overwrite:
        refuse_other(there[0], flag="--output-prefix")


def check_types(prefixes: Sequence[str]) -> str:
    """The token type that all datasets have; opens each.

    Raises:
        DataError: a dataset is damaged, or two have different types.
    """
    dtypes: dict[str, str] = {}  # type → first dataset that has it
    for prefix in prefixes:
        dtypes.setdefault(IndexedDataset(prefix).token_type, prefix)
    if len(dtypes) > 1:
        raise DataError(
            "datasets of different token types: " + ", ".join(f"{prefix} is {name}" for name, prefix in dtypes.items()),
            rule="datasets that are joined have one token type",
            fix="tokenise those of one type again with the tokenizer of the others",
        )
    return next(iter(dtypes))


def copy_datasets(writer: IndexedWriter, prefixes: Sequence[str], manifests: Mapping[str, Manifest]) -> str:
    """Appends all datasets, comparing hashes where there is a manifest.

    Returns the hash of what is then in ``.bin``; without manifests nothing is read for it.
    """
    whole = BlockHash()
    size = sum(os.path.getsize(prefix + ".bin") for prefix in prefixes)
    with Progress("merge", size * (2 if manifests else 1)) as progress:
        for prefix in prefixes:
            if prefix in manifests:
                _check_hashes(prefix, manifests[prefix], whole, progress.add)
            writer.append_dataset(prefix, progress.add)
    return whole.hexdigest()


def _check_hashes(prefix: str, manifest: Manifest, whole: Any, progress: Callable[[int], object]) -> None:
    digest = hash_like(manifest.outputs["bin"].sha256)
    with open(prefix + ".bin", "rb") as file, ThreadPoolExecutor(1) as second:
        while block := file.read(HASH_BLOCK):
            updated = second.submit(whole.update, block)  # beside the next line: hashing lets other threads run
            digest.update(block)
            updated.result()
            progress(len(block))
    check_hash(prefix, "bin", digest.hexdigest(), manifest)
    check_hash(prefix, "idx", hash_file(prefix + ".idx").sha256, manifest)


def _same_path(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)

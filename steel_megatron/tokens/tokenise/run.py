"""From JSON lines to ``.bin/.idx`` datasets, rejects and manifests.

The input is cut into parts, which any number of workers tokenise. Finished parts stay in ``PREFIX.parts.partial`` until
their ids are in their places in the datasets. A run that is stopped goes on with what is done.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.durable import PARTIAL, beside, partial_of, write_json
from steel_megatron.jobs.engine import Engine, tell_done
from steel_megatron.jobs.hashes import of_blocks
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import InputFile, Part, damaged_files
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.rejects import no_document, rejects_path
from steel_megatron.jobs.tasks import Task, clear, work_folder, writing_dataset
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokenizer.encoders import AUTO, ENCODERS, ONE_THREAD, ChosenEncoder, Encoder, choose_encoder
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord
from steel_megatron.tokens.token_type import AUTO as AUTO_TYPE
from steel_megatron.tokens.token_type import chosen_type, stored
from steel_megatron.tokens.tokenise.batch import EncodeJob
from steel_megatron.tokens.tokenise.flow import Block, Flow, Work, blocks_upto, mark_of, work_on
from steel_megatron.tokens.tokenise.inputs import Inputs
from steel_megatron.tokens.tokenise.join import Group, JoinJob, Place, PlacedDataset, groups_of, is_placed, place_index
from steel_megatron.tokens.tokenise.output import (
    PartOutcome,
    TokenizeJob,
    clear_old_work,
    dataset_prefix,
    finished_before,
    join_rejects,
    manifest_of,
    publish,
    refuse_old_work,
)
from steel_megatron.tokens.tokenise.part import PartCounts, PartFiles, PartJob
from steel_megatron.tokens.tokenise.sample_texts import sample_of
from steel_megatron.tokens.tokenise.shuffled import ShuffleJob, shuffle

log = logging.getLogger(__name__)

FORMAT = 3  # of the work folder
PLAN = "plan.json"  # in it: all that its content depends on


@dataclass(frozen=True)
class Tokenized:
    """What a call of :func:`tokenize` left: a manifest per key; ``done_before`` when there was nothing to do."""

    manifests: dict[str, Manifest]  # by prefix of the dataset
    rejects_path: Path | None
    done_before: bool = False

    @property
    def rejected(self) -> int:
        """Lines rejected; a rejected line counts once whatever the number of keys."""
        return sum(next(iter(self.manifests.values())).rejects.values())


def tokenize(
    inputs: Iterable[str | os.PathLike[str]],
    output_prefix: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    keys: Sequence[str] = ("text",),
    append_eod: bool = False,
    encoder: str = AUTO,
    shuffle_seed: int | None = None,
    token_type: str = AUTO_TYPE,
    workers: int = 1,
    engine: str = "local",
    overwrite: bool = False,
    skip_damaged: bool = False,
    log_interval: int = 10_000,
    part_bytes: int | None = None,
) -> Tokenized:
    """Writes ``{output_prefix}_{key}_document.{bin,idx,manifest.json}`` for each key.

    Lines that give no document are kept in ``{output_prefix}.rejects.jsonl``, each with its file, number and reason.

    Args:
        inputs: files, folders, glob patterns and URLs of JSON lines, plain or packed.
        keys: fields to tokenise. A line that lacks one gives no document for any, so the datasets stay parallel.
        append_eod: each document that has a token ends with the tokenizer's ``eod_id``.
        encoder: one of ``steel_megatron.tokenizer.encoders.ENCODERS``; whichever it is, the ids are the tokenizer's.
        shuffle_seed: writes the documents in a random order that depends on the seed alone; None keeps the input's.
        token_type: one of ``steel_megatron.tokens.token_type.TOKEN_TYPES``.
        workers: processes that encode; 1 works in this process.
        engine: "local" or "ray".
        overwrite: replaces what is there. Without it, a whole dataset from the same inputs, tokenizer and settings is
            left as it is, and anything else there is an error.
        skip_damaged: what can be read of a damaged file is taken, and the manifests name it.
        log_interval: documents between log lines where there is no terminal.
        part_bytes: about how much of a file is tokenised at once; None: by the size of all inputs. The datasets do not
            depend on it.

    Raises:
        ConfigError: settings that cannot work.
        DataError: no input, damaged input, other data there, a worker that died, or no line that gives a document.
    """
    keys = tuple(keys)
    if not keys or len(set(keys)) != len(keys):
        raise ConfigError(f"--json-keys {' '.join(keys)}", rule="one or more keys, each once")
    machine = Engine(engine, workers)
    if encoder not in ENCODERS:
        raise ConfigError(f"--encoder {encoder}", rule=f"encoders are {', '.join(ENCODERS)}")
    eod_id = tokenizer.eod_id if append_eod else None
    if append_eod and eod_id is None:
        raise ConfigError(
            f"--append-eod with a {tokenizer.type} that has no end-of-document id",
            rule="the vocabulary has <|endoftext|>, or its settings name an eos_token",
        )
    found = find_inputs(inputs, JSON_LINES)
    files = [InputFile.of(file) for file in found.files]
    dtype = chosen_type(token_type, tokenizer.vocab_size)
    job = TokenizeJob(tokenizer, keys, eod_id, dtype, shuffle_seed, skip_damaged=skip_damaged)
    prefixes = {key: dataset_prefix(output_prefix, key) for key in keys}
    work = beside(output_prefix, ".parts.partial")
    with ExitStack() as stack:
        for prefix in (output_prefix, *prefixes.values()):
            stack.enter_context(writing_dataset(prefix))
        before = finished_before(prefixes, files, job, overwrite)
        if before is not None:
            shutil.rmtree(work, ignore_errors=True)  # of a run that was killed behind its last step
            path = rejects_path(output_prefix)
            return Tokenized(before, path if path.is_file() else None, done_before=True)
        refuse_old_work(output_prefix, overwrite)
        job = replace(job, suspects=found.tell())
        stack.enter_context(work_folder(work, output_prefix))
        inputs_cut = stack.enter_context(closing(Inputs(files, work, part_bytes, skip_damaged)))
        stack.enter_context(_environment(ONE_THREAD))
        folder = stack.enter_context(tempfile.TemporaryDirectory(PARTIAL, dir=work))
        chosen = _choose_encoder(job, encoder, [file.path for file in files], Path(folder))
        run = _Run(output_prefix, replace(job, encoder=chosen.record), machine, work, inputs_cut)
        return run.work(chosen.encoder, log_interval)


def _choose_encoder(job: TokenizeJob, encoder: str, files: Sequence[str], folder: Path) -> ChosenEncoder:
    """The encoder of a run, proven on texts of its input.

    Raises:
        DataError: records mark control tokens that the tokenizer does not have.
    """
    sample = sample_of(files, job.keys)
    special = job.tokenizer.special_tokens
    unknown = sorted(sample.control - set(special))
    if unknown:
        raise DataError(
            f"records of the input mark {', '.join(map(repr, unknown[:8]))} as control tokens",
            rule=f"control tokens of the vocabulary are {', '.join(special) or 'none'}",
            fix="use the tokenizer that the template was made for",
        )
    chosen = choose_encoder(job.tokenizer, encoder, sample.texts, folder)
    log.info("tokenize: %s encodes: %s", chosen.record["name"], chosen.record["why"])
    return chosen


class _Run:
    """A run in its work folder."""

    def __init__(
        self, output_prefix: str | os.PathLike[str], job: TokenizeJob, engine: Engine, folder: Path, inputs: Inputs
    ) -> None:
        self.output_prefix = output_prefix
        self.job = job
        self.engine = engine
        self.folder = folder
        self.inputs = inputs
        self.prefixes = [dataset_prefix(output_prefix, key) for key in job.keys]
        self.item = stored(job.dtype).itemsize
        self.files = PartFiles(os.fspath(folder), len(job.keys))
        self.bins = [partial_of(Path(f"{prefix}.bin")) for prefix in self.prefixes]
        self.used: set[int] = set()  # parts whose files may have gone to a dataset

    def work(self, encoder: Encoder, log_interval: int) -> Tokenized:
        """Does all that is left to do."""
        self._begin()
        job = PartJob(_encode_job(self.job, encoder), self.files, tuple(map(os.fspath, self.bins)))
        with Progress("tokenize", self.inputs.bytes, log_interval) as progress:
            parts = list(self._tokenize(job, progress))
            log.info("tokenize: %s", progress.summary())
        rejects = join_rejects(self.output_prefix, self.files, parts)
        if not any(counts.documents for _, counts in parts):
            clear(self.folder)
            raise _no_document(parts, rejects, self.job.suspects)
        records = self.inputs.records()
        damaged = damaged_files(*zip(*((part, counts.damage) for part, counts in parts), strict=True))
        damaged |= {name: "; ".join(noted) for name, noted in self.inputs.damaged.items() if noted}
        manifests = {}
        for key, prefix in enumerate(self.prefixes):
            starts = _starts(parts, key)
            dataset = PlacedDataset(prefix, self.job.dtype, starts[-1])
            self._join(job, JoinJob(self.files, key, dataset, starts))
            manifests[prefix] = manifest_of(
                key, self.job, dataset, parts, records, self._hash(job, dataset, key), damaged
            )
        for prefix, manifest in manifests.items():
            publish(prefix, manifest)
        clear(self.folder)
        return Tokenized(manifests, rejects)

    def _begin(self) -> None:
        """Goes on with the work of a run of the same plan, or begins."""
        lost = False
        for path in self.folder.glob("used.*.done"):
            task = Task(path.with_suffix(""), ())
            group, file = json.loads(path.read_bytes()), self.bins[int(path.name.split(".")[1])]
            lost = lost or not file.exists()
            if is_placed(group, file, task.since_start()):
                self.used.update(range(group["first"], group["stop"]))
            else:
                path.unlink()
        plan = _plan(self.job, self.inputs)
        try:
            same = json.loads((self.folder / PLAN).read_bytes()) == plan
        except (FileNotFoundError, ValueError):
            same = False
        if same and not lost:
            tell_done("tokenize", sum(1 for _ in self.folder.glob("[0-9]*.done")))
            return
        self.used.clear()
        clear(self.folder)
        clear_old_work(self.output_prefix, self.prefixes)
        write_json(self.folder / PLAN, plan)

    def _tokenize(self, job: PartJob, progress: Progress) -> Iterator[PartOutcome]:
        """All parts in order, and what became of them; most ids are in their places then."""

        def part_mark(number: int) -> dict[str, Any] | None:
            return self.files.task(number, used=number in self.used).done()

        def done(work: Work) -> PartCounts | dict[str, Any] | None:
            if not isinstance(work, Part):
                return self._done(work)
            if (mark := work.done_as_wanted(part_mark(work.number))) is None:
                return None
            progress.add(work.size)
            return PartCounts.of(mark)

        flow = Flow(len(self.prefixes) if self.job.shuffle_seed is None else 0, self.item)
        parts = flow.tasks(self.inputs.parts(lambda number: part_mark(number) is not None))
        with closing(self.engine.stream(work_on, job, parts, progress, done)) as results:
            for work, result in results:
                flow.take(work, result)
                if not isinstance(work, Part):
                    continue
                if self.engine.kind == "ray":  # where no worker counts while it is at work
                    tokens_of, bytes_of = zip(*((key.tokens, key.text_bytes) for key in result.keys), strict=True)
                    progress.add(0, result.documents, sum(tokens_of), sum(bytes_of))
                yield work, result
                self.inputs.take(work, result)

    def _done(self, work: Group | Block) -> dict[str, Any] | None:
        return mark_of(self.files, work).marked()

    def _join(self, job: PartJob, join: JoinJob) -> None:
        """Brings what is left of the documents of one key to their places, and writes their index."""
        groups = groups_of(join.starts, self.item, join.key)
        if self.job.shuffle_seed is None:
            self.engine.run("join", work_on, job, groups, self._done, len(groups))
            join.dataset.create()
            self.engine.run("index", place_index, join, groups, lambda group: None, len(groups))
        else:
            join.dataset.create()
            shuffled = ShuffleJob(join.files, join.key, join.dataset, join.starts, self.job.shuffle_seed)
            shuffle(self.engine, shuffled, groups)
        join.dataset.sync()

    def _hash(self, job: PartJob, dataset: PlacedDataset, key: int) -> str:
        """The hash of a key's ``.bin``."""
        blocks = blocks_upto(key, dataset.end.tokens * self.item)
        done = self.engine.run("hash", work_on, job, blocks, self._done, len(blocks))
        return of_blocks([each["sha256"] for each in done])


def _starts(parts: Sequence[PartOutcome], key: int) -> tuple[Place, ...]:
    """Where each part begins in the dataset of a key, and its end."""
    starts = [Place()]
    for _, counts in parts:
        documents, sequences, tokens = starts[-1]
        of_key = counts.keys[key]
        starts.append(Place(documents + counts.documents, sequences + of_key.sequences, tokens + of_key.tokens))
    return tuple(starts)


def _no_document(parts: Sequence[PartOutcome], rejects: Path | None, suspects: Mapping[str, str]) -> DataError:
    reasons: Counter[str] = Counter()
    for _, counts in parts:
        reasons.update(counts.rejects)
    fix = f"see {rejects}, and check --json-keys" if reasons else "check --input"
    return no_document(reasons, suspects, "at least one line gives a document", fix)


def _plan(job: TokenizeJob, inputs: Inputs) -> dict[str, Any]:
    """What must be the same for a run to go on where another was stopped."""
    plan = {
        "format": FORMAT,
        "code_version": __version__,
        "inputs": [asdict(file) for file in inputs.files],
        "tokenizer": asdict(TokenizerRecord.of(job.tokenizer)),
        "part_bytes": inputs.part_bytes,
        **{name: getattr(job, name) for name in ("keys", "eod_id", "dtype", "shuffle_seed")},
    }
    return dict(json.loads(json.dumps(plan)))


def _encode_job(job: TokenizeJob, encoder: Encoder) -> EncodeJob:
    reference = pickle.dumps(job.tokenizer)
    return EncodeJob(encoder, reference, job.keys, job.eod_id, job.dtype, dict(job.tokenizer.special_tokens))


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables that this process and those it starts see for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

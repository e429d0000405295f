"""Where a run starts from: a checkpoint to continue or to go back to, given weights, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steel_megatron.checkpoint import ranks
from steel_megatron.checkpoint.foreign import refuse_foreign
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointConfig, CheckpointError, ConfigError, RunConfig
from steel_megatron.config.texts import some
from steel_megatron.optim.batch_size import BatchSize, Level, Reached, past_levels
from steel_megatron.training.startup.branches import ASIDE, BACK, DAMAGED, FRESH, Branches, Entry, Leaving
from steel_megatron.training.startup.changes import check_changes

log = logging.getLogger(__name__)


@dataclass
class Start:
    """What to load before the first step.

    ``store`` None: a fresh run. ``weights_only``: the model's weights and nothing else. ``leaving``: what is set aside
    in ``--save`` once all that can be refused has been checked.
    """

    store: CheckpointStore | None = None
    step: int = 0
    weights_only: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # the checkpoint's part that is not tensors
    leaving: Leaving | None = None
    overrides: list[dict[str, Any]] = field(default_factory=list)  # what --override-checkpoint-model has let pass

    def check(self, config: RunConfig, tokenizer_fingerprint: str | None) -> None:
        """Refuses a checkpoint of another model or tokenizer, and says in what this run differs from it."""
        if self.store is None:
            return
        where = self.store.folder(self.step)
        overridden = check_changes(where, self.facts["config"], config, continues=not self.weights_only)
        self.overrides = list(self.facts.get("overrides", []))
        if overridden:
            self.overrides.append({"checkpoint": str(where), "changed": overridden})
        known = self.facts.get("tokenizer_fingerprint")
        if None not in (known, tokenizer_fingerprint) and known != tokenizer_fingerprint:
            raise CheckpointError(
                f"{where} was trained with tokenizer {known}, this run's is {tokenizer_fingerprint}",
                rule="a model keeps its tokenizer",
                fix="give the tokenizer and data that the checkpoint was trained with",
            )

    def past(self) -> tuple[Reached, Sequence[Level]]:
        """What the run has trained on, and in which batches."""
        return (Reached(), []) if self.store is None or self.weights_only else past_levels(self.facts)

    def leave(self, folder: Path, events: Path) -> None:
        """Sets aside what the run leaves in its folder, and says so (a collective call).

        Args:
            events: folder of the tensorboard events.
        """
        leaving = self.leaving
        if leaving is None:
            return
        entry = ranks.on_main(lambda: Branches(folder).leave(leaving, events), f"setting aside in {folder}")
        begun = {
            BACK: f"back to step {entry.step}, from which the run goes on",
            FRESH: "begun anew",
            DAMAGED: f"goes on from step {entry.step}",
        }[entry.kind]
        log.info("%s: %s; %s", folder, begun, _set_aside(folder, entry))


def check_start(config: CheckpointConfig) -> None:
    """Refuses, before any process joins, folders that are not there or not a run's, and flags that contradict."""
    for name in ("load", "pretrained_checkpoint"):
        value = getattr(config, name)
        if value is not None and not Path(value).is_dir():
            raise CheckpointError(
                f"--{name.replace('_', '-')} {value}: no such folder",
                rule="a run that shall continue does not start from nothing",
                fix="check the path, or leave the flag out to start a new run",
            )
    for name in ("load", "pretrained_checkpoint", "save"):
        if getattr(config, name) is not None:
            refuse_foreign(Path(getattr(config, name)), f"--{name.replace('_', '-')}")
    if config.load is not None and config.pretrained_checkpoint is not None:
        raise ConfigError(
            "--load and --pretrained-checkpoint together",
            rule="a run continues one (--load) or starts anew from weights (--pretrained-checkpoint)",
            fix="leave one of them out",
        )
    if config.finetune and config.load is None:
        raise ConfigError("--finetune without --load", fix="name the checkpoint folder with --load")
    weights = config.load if config.finetune else config.pretrained_checkpoint
    if weights is not None and config.save is not None and _same(weights, config.save):
        raise ConfigError(
            f"{'--load … --finetune' if config.finetune else '--pretrained-checkpoint'} and --save name one folder, "
            f"{config.save}",
            rule="a new run from given weights would take the place of the one that it starts from",
            fix=f"--save ANOTHER for a new run from its weights; or --save {config.save} alone to go on with it "
            "(from an earlier step: --ckpt-step N)",
        )
    _check_branch(config)


def _check_branch(config: CheckpointConfig) -> None:
    """Refuses --ckpt-step, --fresh-start and --branch where they have no meaning."""
    if config.ckpt_step is not None and not (config.save or config.load or config.pretrained_checkpoint):
        raise ConfigError(f"--ckpt-step {config.ckpt_step} without a folder", fix="name the run with --save or --load")
    back = _own_step(config) is not None
    if config.fresh_start and (config.save is None or back or (config.load and _same(config.load, config.save))):
        raise ConfigError(
            "--fresh-start without --save, or with --load or --ckpt-step of the same folder",
            rule="it sets aside what --save holds and starts from the beginning",
            fix="leave one of them out",
        )
    if config.branch is not None and not (back or config.fresh_start):
        raise ConfigError(
            f"--branch {config.branch} alone",
            rule="it names what --ckpt-step or --fresh-start begins in --save",
            fix="leave it out to go on with the branch that is there",
        )


def lasting(config: RunConfig) -> RunConfig:
    """The configuration without what is done once, as ``SAVE/config.yaml`` keeps it: it starts another run as well."""
    once: dict[str, Any] = {"fresh_start": False, "branch": None}
    if _own_step(config.checkpoint) is not None:
        once["ckpt_step"] = None
    return replace(config, checkpoint=replace(config.checkpoint, **once))


def find_start(config: CheckpointConfig, events: Path | None = None) -> Start:
    """Decides what to load; every rank comes to the same answer, rank 0's (a collective call).

    A run that was interrupted continues from ``--save`` whatever it once started from or went back to, so the same
    command can be given again after every stop.

    Args:
        events: folder of the tensorboard events, which a setting aside that was cut off keeps too.

    Raises:
        CheckpointError: no checkpoint is whole where one should be, or the one asked for is not there.
    """
    leaving = None
    if config.save is not None:
        own = _from_save(config, CheckpointStore(Path(config.save)), events or Path(config.save) / "tensorboard")
        if own is not None and own.store is not None:
            return own
        leaving = own.leaving if own is not None else None
    for source, weights_only in ((config.load, config.finetune), (config.pretrained_checkpoint, True)):
        if source is None:
            continue
        store = CheckpointStore(Path(source))
        start = _at(store, config.ckpt_step) if config.ckpt_step is not None else _newest(store)
        if start is None:
            raise CheckpointError(
                f"{source} holds no whole checkpoint",
                rule=store.describe(),
                fix="check the path, or leave the flag out",
            )
        start.weights_only, start.leaving = weights_only, leaving
        _check_optimizer(start, config)
        return start
    return Start(leaving=leaving)


def _from_save(config: CheckpointConfig, store: CheckpointStore, events: Path) -> Start | None:
    """The run in ``--save``, continued or left; None if it holds none."""
    there, branch = ranks.on_main(lambda: _look(store, events), f"looking at {store.root}")
    back = _own_step(config)
    if config.fresh_start and not (branch and branch.begun_by(FRESH, 0, config.branch)):
        return Start(leaving=_leaving(FRESH, store, 0, there, config.branch))
    if back is not None and not (branch and branch.begun_by(BACK, back, config.branch)):
        start = _at(store, back)
        start.leaving = _leaving(BACK, store, back, there, config.branch)
    else:
        step, faults = store.newest_and_faults()
        if step is None and faults and config.fresh_start:
            return Start(leaving=_leaving(FRESH, store, 0, there, config.branch))
        if step is None and faults:
            raise _nothing_whole(store, faults, fresh_start=True)
        if step is None:
            return None
        start = Start(store, step, facts=store.facts(step))
        if faults:
            start.leaving = _leaving(DAMAGED, store, step, there, None)
        _tell_continued(config, step, branch)
    _check_optimizer(start, config)
    return start


def _look(store: CheckpointStore, events: Path) -> tuple[list[int], Entry | None]:
    """Steps with a checkpoint, whole or not, and how the branch began, after a kill's leftovers are put in order."""
    branches = Branches(store.root)
    if (cut_off := branches.finish(events)) is not None:
        log.info("%s: a start that was cut off is made up for; %s", store.root, _set_aside(store.root, cut_off))
    return store.named_steps(), branches.current()


def _leaving(kind: str, store: CheckpointStore, step: int, there: Sequence[int], name: str | None) -> Leaving:
    later = [store.folder(one).name for one in there if one > step or kind == FRESH]
    return Leaving(kind, step, tuple(later), name)


def _tell_continued(config: CheckpointConfig, step: int, branch: Entry | None) -> None:
    given = config.load if config.load is not None else config.pretrained_checkpoint
    if given is not None and not _same(given, str(config.save)):
        where = f"{given}, step {config.ckpt_step}," if config.ckpt_step is not None else given
        log.info("%s has checkpoints of this run: it is continued from them, and %s is not used", config.save, where)
    elif branch is not None and (config.fresh_start or config.ckpt_step is not None):
        flags = "--fresh-start" if config.fresh_start else f"--ckpt-step {branch.step}"
        log.info(
            "%s has followed %s already, on %s, and is continued from step %d; to do it once more, add --branch with a "
            "new name",
            *(config.save, flags, branch.time, step),
        )


def _own_step(config: CheckpointConfig) -> int | None:
    """The step of ``--save`` that the run shall go back to; --ckpt-step of another folder is none."""
    given = config.load if config.load is not None else config.pretrained_checkpoint
    if config.save is None or (given is not None and not _same(given, config.save)):
        return None
    return config.ckpt_step


def _at(store: CheckpointStore, step: int) -> Start:
    """The checkpoint of a given step."""
    if step not in ranks.on_main(store.named_steps, f"listing {store.root}"):
        aside = sorted(store.root.glob(f"{ASIDE}/*/{store.folder(step).name}"))
        raise CheckpointError(
            f"--ckpt-step {step}: {store.root} holds no checkpoint of that step",
            rule=store.describe(),
            fix="choose one of them"
            + (
                f"; or go on elsewhere with what was set aside: --load {aside[-1].parent} --save ANOTHER"
                if aside
                else ""
            ),
        )
    if problems := store.verify(step):
        raise CheckpointError(
            f"--ckpt-step {step}: {store.folder(step)} is damaged: {'; '.join(problems[:3])}",
            rule=store.describe(),
            fix="choose another, or leave --ckpt-step out to take the newest whole one",
        )
    return Start(store, step, facts=store.facts(step))


def _newest(store: CheckpointStore) -> Start | None:
    """The newest whole checkpoint of a folder; None if there is none at all."""
    step, faults = store.newest_and_faults()
    if step is None and faults:
        raise _nothing_whole(store, faults, fresh_start=False)
    return None if step is None else Start(store, step, facts=store.facts(step))


def _nothing_whole(store: CheckpointStore, faults: Mapping[int, str], fresh_start: bool) -> CheckpointError:
    listed = "\n".join(f"  {store.folder(step).name}: {fault}" for step, fault in sorted(faults.items()))
    return CheckpointError(
        f"no checkpoint in {store.root} is whole:\n{listed}",
        rule="a run is continued from a whole checkpoint, and what is there is not overwritten",
        fix="bring the files back, or wait for the disk"
        + ("; --fresh-start sets all of them aside and starts from the beginning" if fresh_start else ""),
    )


def _check_optimizer(start: Start, config: CheckpointConfig) -> None:
    """Refuses to continue a checkpoint that holds weights alone."""
    if start.store is None or start.weights_only or config.no_load_optim or start.facts.get("optimizer"):
        return
    raise CheckpointError(
        f"{start.store.folder(start.step)} holds weights only",
        rule="a run is continued with its optimizer's state; from weights alone a new run starts",
        fix=f"--pretrained-checkpoint {start.store.root} --save ANOTHER, without --load",
    )


def tell_complete(start: Start, batch_size: BatchSize) -> bool:
    """Whether a run has nothing left to train; says so."""
    reached = start.past()[0]
    if batch_size.total_steps > reached.step:
        return False
    if reached.step:
        what = f"the run is complete: step {reached.step}, {reached.samples:,} samples"
        way_on = "a longer --train-iters or --train-samples continues it"
    else:
        what, way_on = "there is nothing to train", "--train-samples is smaller than a global batch"
    log.info("%s; %s%s", what, way_on, "; nothing is set aside" if start.leaving is not None else "")
    return True


def _set_aside(folder: Path, entry: Entry) -> str:
    """Where what was left lies, in words."""
    if entry.folder is None:
        return "nothing comes later"
    what = some(entry.later)
    if entry.kind != DAMAGED:
        what = f"{what}{', ' if what else ''}metrics and events as they were"
    return f"set aside in {folder / entry.folder}: {what}"


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()

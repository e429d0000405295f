"""A picture of a run's mixture: shares over the run, and below it the epochs of each source."""

from __future__ import annotations

from pathlib import Path

from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.plan import MixPlan

SUFFIXES = (".svg", ".png", ".pdf")


def draw_mixture(plan: MixPlan, path: str | Path) -> None:
    """Draws the plan into a file of the kind that its name ends with.

    Raises:
        ConfigError: another kind of file, or matplotlib is not installed.
    """
    if Path(path).suffix not in SUFFIXES:
        raise ConfigError(f"--figure {path}", rule=f"a picture ends with {', '.join(SUFFIXES)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"--figure needs matplotlib ({error})", fix='pip install "steel-megatron[plot]", or leave --figure out'
        ) from error
    names = [source.name for source in plan.sources]
    edges = [0, *(phase.end for phase in plan.phases)]
    billions_x = [edge * plan.seq_length / 1e9 for edge in edges]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True)
    shares = [[100 * phase.shares.get(name, 0.0) for phase in plan.phases] for name in names]
    top.stackplot(billions_x, [[*row, row[-1]] for row in shares], labels=names, step="post")
    top.set_ylabel("share of samples in %")
    top.set_ylim(0, 100)
    for source in plan.sources:
        if not source.windows:
            continue
        read, epochs = 0, [0.0]
        for phase in plan.phases:
            read += phase.samples.get(source.name, 0)
            epochs.append(read / source.windows)
        bottom.plot(billions_x, epochs, label=source.name)
    bottom.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    bottom.set_ylabel("epochs read")
    bottom.set_xlabel("billion tokens of the run")
    bottom.set_xlim(0, billions_x[-1])
    bottom.set_ylim(0, None)
    figure.legend(*top.get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path)

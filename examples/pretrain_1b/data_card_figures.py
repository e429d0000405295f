"""The figures of the data card, as SVG."""

from __future__ import annotations

from pathlib import Path

from data_card import FATES, SourceFacts

COLOURS = ("#2a6f97", "#8d99ae", "#e9c46a", "#e76f51", "#f4a261", "#9b2226", "#cccccc")


def draw(facts: list[SourceFacts], folder: Path) -> dict[str, Path]:
    """Title → file."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # The same data draws the same bytes.
    plt.rcParams.update({"svg.hashsalt": "data card", "svg.fonttype": "none", "font.size": 9})
    names = [entry.source.name for entry in facts]
    size = (8, 0.32 * len(facts) + 1.2)
    figures = {"Tokens by source": folder / "tokens.svg", "What became of the records": folder / "records.svg"}

    figure, axes = plt.subplots(figsize=size, layout="constrained")
    tokens = [entry.tokens["tokens"] for entry in facts]
    bars = axes.barh(names, tokens, color=COLOURS[0])
    axes.bar_label(bars, labels=[f" {count / sum(tokens):.1%}" for count in tokens])
    axes.margins(x=0.12)
    axes.set_xlabel("tokens")
    axes.invert_yaxis()
    figure.savefig(figures["Tokens by source"], metadata={"Date": None})
    plt.close(figure)

    figure, axes = plt.subplots(figsize=size, layout="constrained")
    left = [0.0] * len(facts)
    for fate, colour in zip(FATES, COLOURS, strict=True):
        shares = [entry.fates[fate] / entry.convert["records"] for entry in facts]
        if any(shares):
            axes.barh(names, shares, left=left, color=colour, label=fate)
            left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the records")
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(FATES), frameon=False)
    figure.savefig(figures["What became of the records"], metadata={"Date": None})
    plt.close(figure)
    return figures

"""Draws a pipeline schedule: a row per rank, time to the right, a box per pass with the number of its micro-batch."""

from __future__ import annotations

from steel_megatron.parallel.pipeline.actions import Kind
from steel_megatron.parallel.pipeline.timeline import Timeline
from steel_megatron.reports.drawing import Box, Drawing, Label

LEFT, TOP, ROW, GAP = 64, 58, 26, 4  # pixels
NARROWEST, WIDEST = 8, 24  # pixels of a forward pass
MOST = 1400  # pixels of the whole timeline, unless passes become too narrow
DIGIT = 6.2  # pixels

# From dark to light: the chunks.
COLOURS = {
    Kind.FORWARD: ("#3b6fb6", "#8fb8e8"),
    Kind.BACKWARD: ("#c8702a", "#f2b98a"),
    Kind.WEIGHT_GRADIENT: ("#7a7a7a", "#c9c9c9"),
}
NAMES = {Kind.FORWARD: "forward", Kind.BACKWARD: "backward", Kind.WEIGHT_GRADIENT: "weight gradient"}


def picture(timeline: Timeline, scale: float | None = None) -> Drawing:
    """The timeline as boxes and words; ``scale`` in pixels per unit of time, chosen to fit when None."""
    schedule = timeline.schedule
    if scale is None:
        shortest = min(span.end - span.start for row in timeline.spans for span in row)
        scale = max(min(WIDEST / shortest, MOST / timeline.length), NARROWEST / shortest)
    width = timeline.length * scale
    bottom = TOP + schedule.ranks * (ROW + GAP)
    peaks = "keeps" if schedule.trains else ""
    drawing = Drawing(LEFT + width + 60, bottom + 12)
    drawing.labels.append(Label(LEFT, 22, timeline.title, 15))
    drawing.labels.append(Label(LEFT + width + 8, TOP - 8, peaks, 11, colour="#555"))
    _legend(drawing, timeline)
    for rank, row in enumerate(timeline.spans):
        y = TOP + rank * (ROW + GAP)
        drawing.boxes.append(Box(LEFT, y, width, ROW, "#f3f3f3"))
        drawing.labels.append(Label(LEFT - 8, y + 17, f"rank {rank}", 12, "end"))
        if peaks:
            drawing.labels.append(Label(LEFT + width + 8, y + 17, str(schedule.peak_live[rank]), 12, colour="#555"))
        for action, start, end in row:
            x, box_width = LEFT + start * scale, (end - start) * scale
            colour = shade(action.kind, action.chunk, schedule.chunks)
            drawing.boxes.append(Box(x, y, box_width, ROW, colour, "white"))
            number = str(action.micro_batch)
            if len(number) * DIGIT < box_width:
                ink = "white" if action.chunk * 2 < schedule.chunks else "black"
                drawing.labels.append(Label(x + box_width / 2, y + 17, number, 11, "middle", ink))
    return drawing


def shade(kind: Kind, chunk: int, chunks: int) -> str:
    """The colour of a chunk's passes."""
    dark, light = (tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in COLOURS[kind])
    share = chunk / max(chunks - 1, 1)
    return "#" + "".join(f"{round(d + (b - d) * share):02x}" for d, b in zip(dark, light, strict=True))


def _legend(drawing: Drawing, timeline: Timeline) -> None:
    x = float(LEFT)
    chunks = timeline.schedule.chunks
    for kind in (kind for kind in NAMES if any(span.action.kind is kind for span in timeline.spans[0])):
        for chunk in range(chunks):
            drawing.boxes.append(Box(x, 34, 12, 12, shade(kind, chunk, chunks)))
            x += 15
        words = NAMES[kind] + " by chunk" * (chunks > 1)
        drawing.labels.append(Label(x + 2, 44, words, 11))
        x += 6.2 * len(words) + 22

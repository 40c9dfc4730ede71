"""Grad-CAM over whole sets of images: how much evidence is left, and how far it moved."""

from dataclasses import dataclass

import numpy as np

from unsee.nouns import Measurement, Run
from unsee.reporting._strip import dot
from unsee.reporting._style import (
    CONTROL,
    array,
    found,
    interval,
    models,
    number,
    percent,
    shortened,
    stages,
)
from unsee.reporting._svg import FAINT, RULE, Picture, Sheet

WIDTH, LINE, TITLE, FOOT = 400, 11, 26, 42  # pixels: of each dot, of the name of a group
LEFT, RIGHT = 118, 12
MOST = 2.0  # of the axis: what is beyond is drawn at its end and said in the table
READING = (
    "Diamonds with the squares: as much evidence, at the same places, as in the retrained model. "
    "With the circles: as before."
)
WARNING = (
    "No evidence is not no memory: a zeroed output row empties every map, which is why the probe "
    "and the few-shot probe stand below. The control, random weights, shows what maps give for "
    "nothing."
)


@dataclass(frozen=True)
class Line:
    """One row of the picture: the same measurement of each model."""

    label: str
    measured: dict[str, Measurement]


def evidence(run: Run) -> Picture | None:
    """Return mass and displacement at every stage, with the probes beside them."""
    groups = {title: lines for title, lines in _groups(run).items() if lines}
    if not groups or [*groups] == [PROBES]:
        return None
    rows = [row for lines in groups.values() for row in lines]
    heights = [LINE * len(row.measured) + 8 for row in rows]
    sheet = Sheet("evidence", WIDTH, sum(heights) + (TITLE + 4) * len(groups) + FOOT)
    top_value = max(m.high for row in rows for m in row.measured.values())
    end = min(max(1.0, top_value), MOST)
    span, y = WIDTH - LEFT - RIGHT, 0.0
    for title, lines in groups.items():
        sheet.write(0, y + TITLE / 2, title, weight="bold")
        y += TITLE
        for row in lines:
            height = LINE * len(row.measured) + 8
            axes = sheet.axes(LEFT, y, span, height)
            axes.set(xlim=(0, end), ylim=(height, 0))
            for tick in (0.0, 0.5, 1.0, 1.5, 2.0):
                if tick <= end:
                    axes.axvline(tick, color=RULE, lw=0.8, zorder=0)
            label = shortened(row.label, 18)
            sheet.write(LEFT - 8, y + height / 2, label, align="right", size=10.5)
            for n, (model, m) in enumerate(row.measured.items()):
                middle = 4 + LINE * (n + 0.5)
                dot(axes, _within(m, end), middle, model, size=6)
                if m.value > end:
                    said = f"{percent(m.value)} →"
                    edge = WIDTH - RIGHT - 8
                    sheet.write(edge, y + middle, said, align="right", size=9.5, colour=FAINT)
                value = f"{number(m.value, 'share')} ({interval(m, 'share')})"
                sheet.hint(axes.lines[-1], f"{title}, {row.label}, {model}: {value}, n {m.n}")
            y += height
        y += 4
    for tick in (0.0, 0.5, 1.0, 1.5, 2.0):
        if tick <= end:
            x = LEFT + span * tick / end
            sheet.write(x, y + 8, percent(tick), align="center", size=10, colour=FAINT)
    sheet.write(LEFT, y + 26, _sample(run), size=10, colour=FAINT)
    present = [*models(run), *([CONTROL] if CONTROL in run.measurements else [])]
    alt = f"Grad-CAM mass and displacement over sets of images, for {', '.join(present)}"
    head = ("what", "stage", *present)
    table = [
        (title, row.label, *(_cell(row.measured.get(model)) for model in present))
        for title, lines in groups.items()
        for row in lines
    ]
    table += _masses(run, present)
    text = sheet.svg(alt)
    title = "Evidence over whole sets"
    return Picture("evidence", title, alt, text, head, tuple(table), READING, WARNING)


TRUE, ANSWER, MOVED = "Mass, true class", "Mass, answered class", "Displacement, true class"
PROBES = "Not from maps: probes of the features"


def _groups(run: Run) -> dict[str, list[Line]]:
    present = [*models(run), CONTROL]

    def line(label: str, name: str) -> list[Line]:
        measured = {model: m for model in present if (m := found(run, model, name))}
        return [Line(label, measured)] if measured else []

    def each(name: str) -> list[Line]:
        lines = [row for s in stages(run, name) for row in line(s, f"{name}/{s}")]
        return lines or line(run.explained_layer or "explained layer", name)

    return {
        TRUE: each("evidence_remaining"),
        ANSWER: line(run.explained_layer or "explained layer", "evidence_of_answer"),
        MOVED: each("displacement"),
        PROBES: line("probe recall", "probe_recall") + line("few-shot recall", "few_shot_recall"),
    }


def _within(m: Measurement, end: float) -> Measurement:
    """Return what is drawn: beyond the axis a mark at its end, beside its value in words."""
    low = end if m.value > end else m.low
    return Measurement(min(m.value, end), min(low, end), min(m.high, end), m.n)


def _cell(m: Measurement | None) -> str:
    return f"{number(m.value, 'share')} ({interval(m, 'share')})" if m else "–"


def _sample(run: Run) -> str:
    counts = [
        f"{len(mass):,} {word}"
        for part, word in (("forget", "forgotten"), ("retain", "retained"))
        if (mass := array(run, f"original/{part}/mass")) is not None
    ]
    return f"over {' and '.join(counts)} images" if counts else "95 % intervals over images"


def _masses(run: Run, present: list[str]) -> list[tuple[str, ...]]:
    """Return the medians of the mass of single images, in units of the logit."""
    rows = []
    for part, word in (("forget", "forgotten"), ("retain", "retained")):
        for kind, what in (("mass", "true class"), ("answer_mass", "answered class")):
            values = [array(run, f"{model}/{part}/{kind}") for model in present]
            if any(x is not None for x in values):
                cells = ("–" if x is None else _quartiles(x) for x in values)
                rows.append((f"mass of {word} images, {what}", "median (quartiles)", *cells))
    return rows


def _quartiles(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"

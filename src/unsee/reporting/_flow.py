"""Where the forgotten images go: from the original's answer to that of another model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from numpy.typing import NDArray

from unsee.nouns import Run
from unsee.reporting._classes import order
from unsee.reporting._style import COLOURS, array, class_name, models, shortened
from unsee.reporting._svg import FAINT, INK, Picture, Sheet

WIDTH, TALL, NODE, GAP, HEAD = 400, 300, 8, 5, 24  # pixels
SIDE = 112  # for the names of the classes
LEAST = 12  # pixels from one class to the next, so that names stand apart
MOST = 24  # classes; of more the largest only
OTHERS = "all other classes"
READING = (
    "Spread as in the retrained model: the images are taken for what they resemble, as if never "
    "seen. All into one class: the mark of fixed or random labels."
)
WARNING = (
    "These are training images of the original, so its side is nearly always right; two retrained "
    "models do not spread them alike either. Ribbons in the colour of the text are still given a "
    "forgotten class."
)


@dataclass(frozen=True)
class Table:
    """Counts of images by two answers, of the classes shown."""

    names: list[str]
    counts: NDArray[np.int64]  # [K, K]: the original's answer, the other model's
    gone: list[bool]


def flows(run: Run) -> list[Picture]:
    """Return one drawing per model beside the original, all with the same classes in one order."""
    given = {
        model: counts.astype(np.int64)
        for model in models(run)
        if model != "original" and (counts := array(run, f"{model}/flow")) is not None
    }
    if not given:
        return []
    tables = _shown(run, given)
    alts = {m: f"Answers on the forgotten images, from the original to the {m}" for m in tables}
    names = next(iter(tables.values())).names
    rows = tuple(
        (before, after, *(f"{t.counts[i, j]:,}" for t in tables.values()))
        for i, before in enumerate(names)
        for j, after in enumerate(names)
        if any(t.counts[i, j] for t in tables.values())
    )
    head = ("original answers", "other answers", *tables)
    title = "Where the forgotten images go"
    return [
        Picture(
            f"flow-{m}", title, alts[m], _drawn(m, table, alts[m]), head, rows, READING, WARNING
        )
        for m, table in tables.items()
    ]


def _shown(run: Run, given: dict[str, NDArray[np.int64]]) -> dict[str, Table]:
    size = max(len(counts) for counts in given.values())
    names = [class_name(run, k) for k in range(size)]
    gone = {str(name) for name in run.forget.get("gone") or ()}
    places = {name: n for n, name in enumerate(order(run))}
    ranked = sorted(range(size), key=lambda k: (names[k] not in gone, places.get(names[k], k)))
    weight = sum(np.asarray(c.sum(0) + c.sum(1), float) for c in given.values())
    used = [k for k in ranked if np.asarray(weight)[k] > 0]
    largest = {*sorted(used, key=lambda k: -float(np.asarray(weight)[k]))[:MOST]}
    kept = [k for k in used if k in largest]
    rest = [k for k in used if k not in largest]
    groups = [[k] for k in kept] + ([rest] if rest else [])
    labels = [names[k] for k in kept] + ([OTHERS] if rest else [])
    marks = [names[k] in gone for k in kept] + ([False] if rest else [])
    return {
        model: Table(
            labels,
            np.array([[counts[np.ix_(a, b)].sum() for b in groups] for a in groups], np.int64),
            marks,
        )
        for model, counts in given.items()
    }


def _drawn(model: str, table: Table, alt: str) -> str:
    counts, k = table.counts, len(table.names)
    before, after = counts.sum(1), counts.sum(0)
    scale = TALL / max(int(counts.sum()), 1)
    left, right = _places(before, scale), _places(after, scale)
    sheet = Sheet(f"flow-{model}", WIDTH, HEAD + max(left[1], right[1]) + 6)
    first, last = float(SIDE), float(WIDTH - SIDE)
    sheet.write(first + NODE, 9, "original", align="right", weight="bold")
    sheet.write(last - NODE, 9, model, weight="bold")
    starts, ends = [HEAD + y for y in left[0]], [HEAD + y for y in right[0]]
    for side, x, tops, sums in (("right", first, starts, before), ("left", last, ends, after)):
        for n in range(k):
            if not sums[n]:
                continue
            height = scale * float(sums[n])
            place = (x - (NODE if side == "right" else 0), tops[n])
            node = Rectangle(place, NODE, height, color=INK if table.gone[n] else FAINT, lw=0)
            sheet.hint(sheet.paper.add_patch(node), f"{table.names[n]}: {sums[n]:,} images")
            text = f"{shortened(table.names[n], 10)} · {sums[n]:,}"
            edge = x + (-NODE - 5 if side == "right" else NODE + 5)
            weight = "bold" if table.gone[n] else "normal"
            middle = tops[n] + height / 2
            sheet.write(edge, middle, text, align=side, size=10, weight=weight)
    for i in range(k):
        for j in range(k):
            if counts[i, j]:
                height = scale * float(counts[i, j])
                stays = table.gone[j]
                ribbon = _ribbon(first, last, starts[i], ends[j], height)
                look: dict[str, Any] = {"color": INK if stays else COLOURS[model], "lw": 0}
                patch = PathPatch(ribbon, alpha=0.75 if stays else 0.42, **look)
                said = f"{table.names[i]} → {table.names[j]}: {counts[i, j]:,} images"
                sheet.hint(sheet.paper.add_patch(patch), said)
                starts[i] += height
                ends[j] += height
    return sheet.svg(alt)


def _places(sums: NDArray[np.int64], scale: float) -> tuple[list[float], float]:
    """Return where each class begins, and the height of all: names never overlap."""
    tops, y, before = [], 0.0, -float(LEAST)
    for amount in sums:
        height = scale * float(amount)
        if amount:
            y = max(y, before + LEAST - height / 2)
            before = y + height / 2
        tops.append(y)
        y += height + (GAP if amount else 0)
    return tops, max(y, before + LEAST)


def _ribbon(x0: float, x1: float, y0: float, y1: float, height: float) -> Path:
    middle = (x0 + x1) / 2
    points = [
        *((x0, y0), (middle, y0), (middle, y1), (x1, y1)),
        *((x1, y1 + height), (middle, y1 + height), (middle, y0 + height), (x0, y0 + height)),
        (x0, y0),
    ]
    curve = [Path.CURVE4] * 3
    return Path(points, [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])

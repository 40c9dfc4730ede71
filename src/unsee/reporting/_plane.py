"""The feature map: all models on the one plane that was fitted to the original's features."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from unsee.nouns import Run
from unsee.reporting._maps import thumbnail
from unsee.reporting._style import (
    COLOURS,
    array,
    class_name,
    found,
    models,
    number,
    percent,
    shortened,
)
from unsee.reporting._svg import FAINT, INK, Picture, Sheet

WIDTH, HEAD, FOOT = 340, 24, 22  # pixels
POINTS = {"gone": 400, "unseen": 200}  # drawn at most
CELLS = 72  # of the density, along each side
NAMED = 12  # classes at most are named in the map
COLUMNS, THUMB = 6, 48
Array = NDArray[Any]
READING = (
    "Filled: forgotten images, hollow: never-seen ones of the same kind, grey: retained ones. "
    "Forgotten among the hollow and spread as in the retrained panel: as if never seen. Arrows "
    "lead from the original to now, for the images whose neighbourhood changed most."
)
WARNING = (
    "The plane is fitted on the original's features only: a move out of it is invisible, so the "
    "share outside is printed in each panel. Distances between classes in a plane say little; "
    "neighbours are compared in the full space."
)
ALIGNED = (
    " The retrained model is another training: its points are turned by an orthogonal map "
    "(Procrustes) that was fitted on retained images."
)
NOT_ALIGNED = " The retrained model's points are not aligned: its directions mean nothing here."


def plane(run: Run) -> list[Picture]:
    """Return one drawing per model, all with the same axes, then the images that moved most."""
    present = [m for m in models(run) if array(run, f"{m}/plane/gone") is not None]
    if not present:
        return []
    parts = ("retain", "gone", "unseen")
    points = {
        (model, part): values.astype(np.float64)
        for model in present
        for part in parts
        if (values := array(run, f"{model}/plane/{part}")) is not None
    }
    limits = _frame(points)
    rows = tuple(_row(run, model) for model in present)
    head = (
        *("model", "forgotten", "never seen", "retained", "in the plane"),
        *("outside", "median overlap", "neighbourhood purity"),
    )
    return [
        Picture(
            *(f"plane-{model}", "Feature map", alt, _panel(run, model, points, limits, alt)),
            *(head, rows, READING, WARNING + _aligned(run)),
        )
        for model in present
        if (alt := f"Feature map of the {model} model: forgotten, never-seen and retained images")
    ]


def _frame(points: dict[Any, Array]) -> list[tuple[float, float]]:
    """Return axes that all panels share: square, with all forgotten images of every model.

    A few retained images far out would make all others a dot: of them the middle nine tenths
    count, and each panel says how many lie outside.
    """
    ends = [
        np.quantile(x[np.isfinite(x).all(1)], (0.05, 0.95) if part == "retain" else (0, 1), axis=0)
        for (_, part), x in points.items()
        if np.isfinite(x).all(1).any()
    ]
    every = np.concatenate(ends or [np.zeros((1, 2))])
    low, high = every.min(0), every.max(0)
    middle, half = (low + high) / 2, 0.54 * float((high - low).max() or 1.0)
    return [(middle[k] - half, middle[k] + half) for k in (0, 1)]


def moved(run: Run) -> Picture | None:
    """Return the images whose neighbourhood changed most, by the numbers they have in the map."""
    numbers, labels = run.arrays.get("plane/moved"), run.arrays.get("pictures/forget-moved/labels")
    if numbers is None or not len(numbers):
        return None
    images = run.arrays.get("pictures/forget-moved/images")
    cell, n = THUMB + 8, len(numbers)
    step = cell + 26 if images is not None else 30
    sheet = Sheet("plane-moved", COLUMNS * cell - 8, -(-n // COLUMNS) * step)
    ids = run.arrays.get("pictures/forget-moved/ids")
    rows = []
    for k, row in enumerate(numbers):
        left, top = k % COLUMNS * cell, k // COLUMNS * step
        if images is not None and k < len(images):
            sheet.picture(thumbnail(images[k], THUMB), left, top, THUMB)
        y = top + (THUMB + 9 if images is not None else 9)
        sheet.write(left, y, f"{k + 1}", size=10, weight="bold")
        overlap = array(run, "unlearned/plane/overlap")
        kept = "–" if overlap is None or row >= len(overlap) else f"{overlap[int(row)]:.2f}"
        sheet.write(left + THUMB, y, kept, align="right", size=9.5, colour=FAINT)
        name = "" if labels is None else class_name(run, labels[k])
        if name and images is not None:
            sheet.write(left, y + 12, shortened(name, 8), size=9.5, colour=FAINT)
        rows.append((f"{k + 1}", kept, name or "–", "–" if ids is None else str(ids[k])))
    alt = f"The {n} forgotten images whose neighbourhood changed most, numbered as in the map"
    title = f"The {n} whose neighbourhood changed most"
    reading = "The number leads to the map, the value is the share of neighbours kept (Jaccard)."
    warning = "These are the extremes, not typical images."
    head = ("number", "overlap", "class", "image")
    text = sheet.svg(alt)
    return Picture("plane-moved", title, alt, text, head, tuple(rows), reading, warning)


def _panel(run: Run, model: str, points: dict[Any, Array], limits: Any, alt: str) -> str:
    sheet = Sheet(f"plane-{model}", WIDTH, HEAD + WIDTH + FOOT)
    sheet.write(0, 9, model, weight="bold")
    outside = array(run, f"{model}/plane/outside")
    if outside is not None:
        share = float(outside.reshape(-1)[0])
        text = f"in the plane {percent(1 - share)}, outside {percent(share)}"
        sheet.write(WIDTH, 9, text, align="right", size=10.5, colour=FAINT)
    axes = sheet.axes(0, HEAD, WIDTH, WIDTH)
    axes.set(xlim=limits[0], ylim=limits[1])
    frame = Rectangle((0, HEAD), WIDTH, WIDTH, fill=False, ec=FAINT, lw=0.6)
    sheet.paper.add_patch(frame)
    _density(axes, points.get((model, "retain")), limits)
    colour = COLOURS[model]
    numbers = array(run, "plane/moved")
    if (unseen := points.get((model, "unseen"))) is not None:
        some = _some(len(unseen), POINTS["unseen"])
        look: dict[str, Any] = {"marker": "o", "ms": 4.5, "mfc": "none", "mec": colour}
        (marks,) = axes.plot(*unseen[some].T, ls="", mew=0.9, **look)
        sheet.hint(marks, f"{model}: {len(unseen):,} never-seen images, {len(some):,} drawn")
    gone = points[model, "gone"]
    some = _some(len(gone), POINTS["gone"], numbers)
    (marks,) = axes.plot(*gone[some].T, ls="", marker="o", ms=3, color=colour, alpha=0.65, mew=0)
    sheet.hint(marks, f"{model}: {len(gone):,} forgotten images, {len(some):,} drawn")
    _names(sheet, run, points.get((model, "retain")), limits)
    before = points.get(("original", "gone"))
    if numbers is not None and model in ("original", "unlearned"):
        spots: list[tuple[float, float]] = []
        for k, row in enumerate(numbers.astype(int)):
            if model == "unlearned" and before is not None:
                _arrow(axes, before[row], gone[row])
            spots.append(_number(sheet, k + 1, _place(gone[row], limits), spots))
    if lost := _outside(points.get((model, "retain")), limits):
        text = f"{percent(lost)} of the retained images lie outside this frame"
        sheet.write(WIDTH - 6, HEAD + WIDTH - 10, text, align="right", size=9.5, colour=FAINT)
    variance = array(run, "plane/variance")
    if variance is not None and model == "original":
        first, second = (percent(float(v)) for v in variance[:2])
        text = f"axes: {first} and {second} of the original's variance"
        sheet.write(0, HEAD + WIDTH + 12, text, size=9.5, colour=FAINT)
    return sheet.svg(alt)


def _outside(points: Array | None, limits: Any) -> float:
    if points is None:
        return 0.0
    (x0, x1), (y0, y1) = limits
    x, y = points.T
    return float(1 - ((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)).mean())


def _some(n: int, most: int, always: Array | None = None) -> NDArray[np.int64]:
    """Return at most ``most`` rows evenly, and those that have to be seen."""
    rows = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
    return rows if always is None else np.union1d(rows, always.astype(np.int64))


def _density(axes: Axes, points: Array | None, limits: Any) -> None:
    """Draw the retained images as a grey haze that is seen on light and on dark pages."""
    if points is None:
        return
    counts, *_ = np.histogram2d(points[:, 1], points[:, 0], CELLS, [limits[1], limits[0]])
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, mode="same")
    most = counts.max() or 1.0
    alpha = 150 * np.sqrt((counts / most).clip(0, 1))
    grey = np.full((CELLS, CELLS, 4), 128, np.uint8)
    grey[..., 3] = alpha.astype(np.uint8)
    axes.imshow(grey, extent=(*limits[0], *limits[1]), origin="lower", aspect="auto", zorder=0)
    axes.set(xlim=limits[0], ylim=limits[1])


def _names(sheet: Sheet, run: Run, points: Array | None, limits: Any) -> None:
    """Name the classes where their retained images lie, as far as names do not collide."""
    labels = array(run, "plane/retain_labels")
    if points is None or labels is None or len(labels) != len(points):
        return
    kinds, counts = np.unique(labels, return_counts=True)
    taken: list[tuple[float, float]] = []
    for kind in kinds[np.argsort(-counts, kind="stable")][:NAMED]:
        x, y = _place(np.median(points[labels == kind], 0), limits)
        inside = 20 < x < WIDTH - 20 and HEAD + 8 < y < HEAD + WIDTH - 20
        if inside and all(abs(y - b) > 12 or abs(x - a) > 62 for a, b in taken):
            taken.append((x, y))
            name = shortened(class_name(run, kind), 11)
            sheet.write(x, y, name, align="center", size=10, colour=INK)


def _arrow(axes: Axes, start: Array, end: Array) -> None:
    look = {"arrowstyle": "->", "color": INK, "lw": 0.7, "alpha": 0.75}
    axes.annotate("", tuple(end), tuple(start), arrowprops=look)


def _number(
    sheet: Sheet, number: int, point: tuple[float, float], taken: list[tuple[float, float]]
) -> tuple[float, float]:
    """Write a number as near to its point as others let it; a hair line leads there."""
    x, y = point
    for ring in range(1, 9):
        for angle in np.arange(8) * np.pi / 4 + 0.4:
            a, b = x + 9 * ring * np.cos(angle), y - 9 * ring * np.sin(angle)
            inside = 8 < a < WIDTH - 8 and HEAD + 8 < b < HEAD + WIDTH - 8
            if inside and all(abs(a - c) > 15 or abs(b - d) > 11 for c, d in taken):
                if ring > 1:
                    sheet.paper.plot([x, a], [y, b], color=INK, lw=0.4, alpha=0.6)
                sheet.write(a, b, f"{number}", align="center", size=9.5, weight="bold")
                return a, b
    sheet.write(x, y, f"{number}", align="center", size=9.5, weight="bold")
    return x, y


def _place(point: Array, limits: Any) -> tuple[float, float]:
    (x0, x1), (y0, y1) = limits
    return WIDTH * (point[0] - x0) / (x1 - x0), HEAD + WIDTH * (y1 - point[1]) / (y1 - y0)


def _aligned(run: Run) -> str:
    turned = array(run, "plane/procrustes")
    if turned is None or "retrained" not in run.measurements:
        return ""
    return ALIGNED if bool(turned.reshape(-1)[0]) else NOT_ALIGNED


def _row(run: Run, model: str) -> tuple[str, ...]:
    outside, overlap = (array(run, f"{model}/plane/{name}") for name in ("outside", "overlap"))
    share = None if outside is None else float(outside.reshape(-1)[0])
    purity = found(run, model, "knn_purity")
    counts = (array(run, f"{model}/plane/{part}") for part in ("gone", "unseen", "retain"))
    return (
        model,
        *("–" if x is None else f"{len(x):,}" for x in counts),
        "–" if share is None else number(1 - share, "share"),
        "–" if share is None else number(share, "share"),
        "–" if overlap is None else f"{float(np.median(overlap)):.2f}",
        number(purity.value, "share") if purity else "–",
    )

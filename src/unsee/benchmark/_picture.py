"""The Pareto picture: distance to retraining against seconds, and against image gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes

from unsee.benchmark._labels import Box, placed, width_of
from unsee.benchmark._results import Asked, Record, picture_file
from unsee.benchmark._rows import RANKED, Row, tables
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, HEAD, SIDE, FOOT = 700, 86, 300, 60  # pixels; a panel is SIDE high
LEFT, RIGHT = 56, 20
SIZE = 10.5  # of labels
LINE, ACROSS = 15, 110  # height of a line of text, and its letters
EDGE = 0.75  # of the least place, so that a mark on it is whole
COSTS = {"seconds": "seconds", "image_gradients": "image gradients (a forward pass: a third)"}
FAMILIES: dict[str, tuple[str, str, str]] = {  # Okabe and Ito; shape and colour say the same
    "buffer": ("#D55E00", "o", "shown a buffer of what stays"),
    "all": ("#0072B2", "s", "shown all that stays"),
    "forget": ("#009E73", "^", "shown nothing of it"),
    "control": ("#999999", "D", "control"),
}
READING = (
    "Lower is nearer to retraining, further left is cheaper. Filled: the nearest, or not told "
    "apart from it; small dots: seeds; bars: 95 % intervals of means. The line joins what no other "
    "method beats in both, of those that have all seeds."
)


@dataclass(frozen=True)
class Point:
    """One method in one panel, in units of the data."""

    row: Row
    x: float
    y: float

    @property
    def label(self) -> str:
        """Its name, and how many seeds failed or are not there."""
        row = self.row
        told = f"{len(row.failed)} of {row.seeds} failed" if row.failed else ""
        if row.missing:
            told += f"{', ' if told else ''}{row.missing} of {row.seeds} not there"
        return f"{row.method} ({told})" if told else row.method


def pareto(records: Sequence[Record], asked: Asked | None = None) -> dict[str, Picture]:
    """Return a picture for every data set and rule, by the name of its file."""
    found = {
        picture_file(data, rule): _picture(data, rule, rows)
        for (data, rule), rows in tables(records, asked).items()
    }
    return {name: picture for name, picture in found.items() if picture is not None}


def _picture(data: str, rule: str, rows: list[Row]) -> Picture | None:
    shown = [row for row in rows if row.kind != "reference" and RANKED.name in row.figures]
    if not shown:
        return None
    below = _not_drawn(rows)
    height = HEAD + len(COSTS) * (SIDE + FOOT) + 22 + LINE * max(0, len(below) - 1)
    sheet = Sheet(f"pareto-{data}-{rule}", WIDTH, height)
    seeds = max(row.seeds for row in rows)
    drawn = f"{seeds} seed{'' if seeds == 1 else 's'}"
    title = f"{data}, {rule}: distance to retraining and its price, {drawn}"
    sheet.write(LEFT, 14, title, size=13, weight="bold")
    _legend(sheet, {row.kind for row in shown})
    top = HEAD
    for cost, words in COSTS.items():
        _panel(sheet, [_point(row, cost) for row in shown if cost in row.figures], cost, words, top)
        top += SIDE + FOOT
    for line, told in enumerate(below):
        sheet.write(LEFT, height - 12 - LINE * (len(below) - 1 - line), told, size=SIZE)
    figures = (*COSTS, RANKED.name)
    table = tuple((row.method, *(_number(row, name) for name in figures)) for row in shown)
    nearest = ", ".join(row.method for row in shown if row.place == "best")
    alt = f"{title}. Nearest: {nearest}." if nearest else f"{title}. Nothing is ranked."
    head = ("method", *figures)
    return Picture(sheet.name, title, alt, sheet.svg(alt), head, table, READING)


def _not_drawn(rows: Sequence[Row]) -> list[str]:
    """Return lines of those without a distance: who failed, and who was not measured yet."""
    none = [row for row in rows if RANKED.name not in row.figures and not row.unsuited]
    failed = [f"{row.method} ({len(row.failed)} of {row.seeds})" for row in none if row.failed]
    left = [row.method for row in none if row.missing and not row.failed]
    told = {"failed, not drawn": failed, "not there yet": left}
    return [
        line
        for what, some in told.items()
        if some
        for line in wrap(f"{what}: {', '.join(some)}", ACROSS, subsequent_indent="  ")
    ]


def _number(row: Row, name: str) -> str:
    found = row.figures.get(name)
    return "" if found is None else f"{found.value:.4g}"


def _point(row: Row, cost: str) -> Point:
    return Point(row, row.figures[cost].value, row.figures[RANKED.name].value)


def _legend(sheet: Sheet, kinds: set[str]) -> None:
    """Name shapes and colours, and what filled means, in one line."""
    x = float(LEFT)
    for kind, (colour, marker, words) in FAMILIES.items():
        if kind in kinds:
            sheet.paper.plot([x + 4], [38], marker=marker, ms=6, color=colour, ls="")
            sheet.write(x + 13, 38, words, size=SIZE)
            x += 26 + width_of(words, SIZE)
    told = "filled: the nearest, or tied with it; small marks: seeds; bars: 95 % intervals of means"
    sheet.write(LEFT, 56, told, size=SIZE, colour=FAINT)


def _panel(sheet: Sheet, points: list[Point], cost: str, words: str, top: float) -> None:
    width = WIDTH - LEFT - RIGHT
    axes = sheet.axes(LEFT, top, width, SIDE)
    low, high, less = _range(points, cost)
    reach = [p.row.figures[RANKED.name].high or p.y for p in points]
    reach += [y for p in points for y in p.row.figures[RANKED.name].each]
    ceiling = min(math.sqrt(math.log(2)), max(0.05, *reach)) * 1.06
    axes.set_xscale("log")
    axes.set(xlim=(low * EDGE, high), ylim=(0, ceiling))
    _grid(sheet, axes, (low, high), ceiling, top, less)
    sheet.write(LEFT + width / 2, top + SIDE + 34, words, align="center", size=11)
    sheet.write(LEFT, top - 9, "JS distance to the retrained model", size=SIZE, colour=FAINT)
    taken: list[Box] = []
    for point in points:
        taken += _mark(sheet, axes, point, cost, low, top)
    taken += _front(sheet, axes, points, low)
    wanted = sorted(points, key=lambda p: (p.row.kind == "control", p.y))
    places = [(*_pixels(sheet, axes, max(p.x, low), p.y), p.label) for p in wanted]
    inside = (LEFT + 2, top + 2, WIDTH - 4, top + SIDE - 2)
    for (x, y, label), box in zip(places, placed(places, taken, inside, SIZE), strict=True):
        near = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
        if math.dist(near, (x, y)) > 12:
            sheet.paper.plot([x, near[0]], [y, near[1]], color=FAINT, lw=0.6)
        sheet.write(box[0] + 1, (box[1] + box[3]) / 2, label, size=SIZE, colour=INK)


def _range(points: list[Point], cost: str) -> tuple[float, float, bool]:
    """Return the ends of a logarithmic axis, and whether its first place is for all that is less.

    Methods have the room: controls cost next to nothing, and would take most of it.
    """
    every = [x for p in points for x in (p.x, *p.row.figures[cost].each)]
    methods = [p for p in points if p.row.kind != "control"] or points
    some = [x for p in methods for x in (p.x, *p.row.figures[cost].each) if x > 0] or [1.0]
    low, high = 10.0 ** math.floor(math.log10(min(some))), max(some) * 1.6
    less = min(every, default=low) < low
    return (low / 10 if less else low), max(high, low * 10), less


def _grid(
    sheet: Sheet, axes: Axes, ends: tuple[float, float], ceiling: float, top: float, less: bool
) -> None:
    low, high = ends
    first, last = round(math.log10(low)), math.floor(math.log10(high))
    for exponent in range(first, last + 1):
        axes.axvline(10.0**exponent, color=RULE, lw=0.8, zorder=0)
        x, _ = _pixels(sheet, axes, 10.0**exponent, 0)
        told = f"< {10.0 * low:,g}" if less and exponent == first else f"{10.0**exponent:,g}"
        sheet.write(x, top + SIDE + 14, told, align="center", size=10, colour=FAINT)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if ceiling / s <= 6)
    for number in range(int(ceiling / step) + 1):
        axes.axhline(number * step, color=RULE, lw=0.8, zorder=0)
        _, y = _pixels(sheet, axes, low, number * step)
        sheet.write(LEFT - 7, y, f"{number * step:.2f}", align="right", size=10, colour=FAINT)


def _mark(sheet: Sheet, axes: Axes, point: Point, cost: str, low: float, top: float) -> list[Box]:
    """Draw one method, its seeds and its intervals, and return what no label may cover."""
    colour, marker, _ = FAMILIES[point.row.kind]
    price, apart = point.row.figures[cost], point.row.figures[RANKED.name]
    look: dict[str, Any] = {"color": colour, "lw": 1.2, "zorder": 2}
    x, taken = max(point.x, low), list[Box]()
    bars = []
    if apart.low is not None and apart.high is not None and apart.reach:
        bars.append(([x, x], [max(0, apart.low), apart.high]))
    if price.low is not None and price.high is not None and price.reach:
        bars.append(([max(low, price.low), price.high], [point.y] * 2))
    for across, up in bars:
        axes.plot(across, up, **look)
        first, last = (_around(sheet, axes, *end, 1.5) for end in zip(across, up, strict=True))
        taken.append((first[0], last[1], last[2], first[3]))
    if len(price.each) == len(apart.each) > 1:
        each = [max(low, x) for x in price.each]
        axes.plot(each, apart.each, marker=marker, ms=3, color=colour, ls="", alpha=0.55, zorder=3)
        taken += [_around(sheet, axes, *pair, 2.0) for pair in zip(each, apart.each, strict=True)]
    full = point.row.place in ("best", "tied")
    face = colour if full or point.row.kind == "control" else "none"
    (dot,) = axes.plot(
        [x], [point.y], marker=marker, ms=7, mec=colour, mfc=face, mew=1.6, ls="", zorder=4
    )
    sheet.hint(dot, f"{point.label}: JS {point.y:.3f}, {cost} {point.x:,.4g}")
    return [*taken, _around(sheet, axes, x, point.y, 6.0)]


def _front(sheet: Sheet, axes: Axes, points: list[Point], low: float) -> list[Box]:
    """Join the methods that no other beats in both, of those that can be compared.

    Returns:
        The steps, which no label may cover.

    """
    whole = [p for p in points if p.row.kind != "control" and not (p.row.missing or p.row.remarks)]
    ours = sorted(whole, key=lambda p: (p.x, p.y))
    front: list[Point] = []
    for point in ours:
        if not front or point.y < front[-1].y:
            front.append(point)
    across, up = [max(p.x, low) for p in front], [p.y for p in front]
    axes.step(across, up, where="post", color=FAINT, lw=1, ls=(0, (4, 3)), zorder=1)
    places = [_pixels(sheet, axes, x, y) for x, y in zip(across, up, strict=True)]
    steps = list[Box]()
    for (left, above), (right, below) in pairwise(places):
        steps += [(left, above - 1, right, above + 1), (right - 1, above, right + 1, below)]
    return steps


def _pixels(sheet: Sheet, axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where on the paper a place of the axes is."""
    across, up = axes.transData.transform((x, y)) * 72 / sheet.figure.dpi
    return float(across), sheet.height - float(up)


def _around(sheet: Sheet, axes: Axes, x: float, y: float, reach: float) -> Box:
    left, top = _pixels(sheet, axes, x, y)
    return left - reach, top - reach, left + reach, top + reach

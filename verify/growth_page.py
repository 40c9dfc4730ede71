"""The page of what grows with what: a table for each thing, and a picture with its exponents."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from performance import Cells

from unsee.reporting._style import COLOURS
from unsee.reporting._svg import FAINT, RULE, Picture, Sheet

MIB = 2**20
WORDS = {  # what grows, in the order of the page, and what it is counted in; a model has no number
    "train": ("The training set", "training images"),
    "forget": ("The forget set", "images to forget"),
    "buffer": ("The buffer", "images of the buffer"),
    "classes": ("Classes", "classes"),
    "model": ("The model", ""),
    "audit": ("Images audited", "training images, all audited"),
}
WIDTH, HEIGHT = 520, 288  # pixels; wide enough for two panels, narrow enough for a telephone
LEFT, GAP, RIGHT = 44, 62, 14
TOP, SIDE = 58, 156  # where panels begin, and how high they are
SIZE = 11  # of letters
MARK, LINE = 5, 1.6
AIR = 0.06  # of the axis, beyond the outermost values
READING = "Both axes are logarithmic. Line: fitted to the larger half. Dashed: in proportion."


@dataclass(frozen=True)
class Fit:
    """``value = factor * size^exponent``, and the sizes that it was fitted to, ascending."""

    exponent: float
    factor: float
    sizes: tuple[float, ...]

    def at(self, size: float) -> float:
        """Return the value that it has there."""
        return self.factor * size**self.exponent


@dataclass(frozen=True)
class Grown:
    """One quantity against what grows."""

    name: str
    unit: str
    colour: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def fit(self) -> Fit | None:
        """The law of its larger half."""
        return fitted(self.sizes, self.values)


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis: from values to pixels."""

    low: float
    high: float
    first: float  # pixels of the least value
    last: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Return round values: powers of ten, or two and five of each where these are few."""
        tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5)):
            found = [step * 10.0**n for n in tens for step in steps]
            inside = [x for x in found if self.low <= x <= self.high]
            if len(inside) > 1:
                break
        return inside


def fitted(sizes: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Fit ``value = a * size^e`` to the larger half, by least squares of the logarithms.

    None for fewer than two sizes, or values that are not above 0.
    """
    pairs = sorted(zip(sizes, values, strict=True))[len(sizes) // 2 - (len(sizes) < 4) :]
    if len(pairs) < 2 or min(value for _, value in pairs) <= 0:
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    slope, height = np.polyfit(x, y, 1)
    return Fit(float(slope), math.exp(height), tuple(size for size, _ in pairs))


def axis_of(found: Cells, axis: str) -> Cells:
    """Return the cells of one thing that grows, by its size: numbers ascending."""
    own = {n.partition("-")[2]: c for n, c in found.items() if n.startswith(f"{axis}-")}
    return dict(sorted(own.items(), key=lambda pair: int(pair[0]) if pair[0].isdecimal() else 0))


def grown(cells: Cells) -> list[Grown]:
    """Return seconds and memory against what grows; none where that is no number."""
    own = {float(x): cell for x, cell in cells.items() if x.isdecimal()}
    columns: dict[str, tuple[str, str, Callable[[dict[str, float]], float]]] = {
        "seconds": ("s", COLOURS["original"], lambda cell: cell["seconds"]),
        "memory above idle": ("MiB", COLOURS["unlearned"], lambda cell: cell["above_idle"] / MIB),
    }
    return [
        Grown(name, unit, colour, tuple(own), tuple(value(cell) for cell in own.values()))
        for name, (unit, colour, value) in columns.items()
        if own
    ]


def lines(found: Cells) -> list[str]:
    """Return a table for each thing that grows, and its picture."""
    told: list[str] = []
    drawn = pictures(found)
    for axis, (title, _) in WORDS.items():
        own = axis_of(found, axis)
        if not own:
            continue
        told += [f"### {title}", "", f"| {axis} | seconds | image gradients | MiB above idle |"]
        told.append("|---|---|---|---|")
        for x, cell in own.items():
            size = f"{int(x):,}" if x.isdecimal() else f"`{x}`"
            told.append(
                f"| {size} | {cell['seconds']:.2f} | {cell['image_gradients']:,.0f} "
                f"| {cell['above_idle'] / MIB:,.0f} |"
            )
        if picture := drawn.get(file_of(axis)):
            told += ["", f"![{picture.alt}](images/{file_of(axis)})", "", law(grown(own))]
        told.append("")
    return told


def law(each: Iterable[Grown]) -> str:
    """Say the exponent of each quantity that has one."""
    found = ((x.name, x.fit) for x in each)
    said = [f"{name}: *e* = {fit.exponent:.2f}" for name, fit in found if fit]
    return "; ".join(said) or "Too few sizes for an exponent."


def file_of(axis: str) -> str:
    """Return the name of a picture's file."""
    return f"growth-{axis}.svg"


def pictures(found: Cells) -> dict[str, Picture]:
    """Return a picture for each thing that was measured at two sizes or more, by its file."""
    drawn = {}
    for axis, (title, unit) in WORDS.items():
        each = grown(axis_of(found, axis))
        if each and len(each[0].sizes) > 1:
            drawn[file_of(axis)] = picture(axis, title, unit, each)
    return drawn


def picture(axis: str, title: str, unit: str, each: Sequence[Grown]) -> Picture:
    """Draw one thing that grows: a panel for each quantity."""
    sheet = Sheet(f"growth-{axis}", WIDTH, HEIGHT)
    sheet.write(LEFT, 14, f"{title}: what grows with it", size=13, weight="bold")
    wide = (WIDTH - LEFT - RIGHT - GAP * (len(each) - 1)) / len(each)
    for number, quantity in enumerate(each):
        panel(sheet, quantity, LEFT + number * (wide + GAP), wide, unit)
    sheet.write(LEFT, HEIGHT - 14, READING, size=SIZE - 1, colour=FAINT)
    said = law(each).replace("*", "")
    alt = f"{title}, time and memory on logarithmic axes. {said[0].upper()}{said[1:]}"
    return Picture(sheet.name, title, alt, sheet.svg(alt), reading=READING)


def panel(sheet: Sheet, quantity: Grown, left: float, wide: float, unit: str) -> None:
    """Draw the values of one quantity, the line fitted to them, and what would be in proportion."""
    fit, colour = quantity.fit, quantity.colour
    told = f"{quantity.name}, {quantity.unit}" if quantity.name != "seconds" else quantity.name
    sheet.write(left, TOP - 20, told + (f": e = {fit.exponent:.2f}" if fit else ""), size=SIZE)
    pairs = [pair for pair in zip(quantity.sizes, quantity.values, strict=True) if pair[1] > 0]
    if not pairs:
        sheet.write(left, TOP + SIDE / 2, "none that could be told from 0", size=SIZE, colour=FAINT)
        return
    # The line is part of what has to fit in: it may miss every point.
    ends = [fit.sizes[0], fit.sizes[-1]] if fit else []
    across = scale([x for x, _ in pairs], left, left + wide)
    up = scale([y for _, y in pairs] + [fit.at(x) for x in ends if fit], TOP + SIDE, TOP)
    for value in across.ticks():
        sheet.rule(across(value), TOP, TOP + SIDE)
        sheet.write(
            across(value),
            TOP + SIDE + 12,
            f"{value:,g}" if value < 1e6 else short(value),
            align="center",
            size=SIZE - 1,
            colour=FAINT,
        )
    for value in up.ticks():
        sheet.paper.plot([left, left + wide], [up(value)] * 2, color=RULE, lw=0.8)
        sheet.write(left - 6, up(value), f"{value:,g}", align="right", size=SIZE - 1, colour=FAINT)
    sheet.write(left + wide / 2, TOP + SIDE + 30, unit, align="center", size=SIZE, colour=FAINT)
    if fit:
        sheet.paper.plot([*map(across, ends)], [up(fit.at(x)) for x in ends], color=colour, lw=LINE)
        proportion(sheet, fit, across, up)
    for size, value in pairs:
        (dot,) = sheet.paper.plot(
            [across(size)], [up(value)], marker="o", ms=MARK, color=colour, ls=""
        )
        sheet.hint(dot, f"{size:,.0f} {unit}: {value:,.4g} {quantity.unit}")


def proportion(sheet: Sheet, fit: Fit, across: Scale, up: Scale) -> None:
    """Draw what would grow in proportion from where the line begins, as far as there is room."""
    start, height = fit.sizes[0], fit.at(fit.sizes[0])
    end = min(across.high, start * up.high / height)
    places = [across(start), across(end)], [up(height), up(height * end / start)]
    sheet.paper.plot(*places, color=FAINT, lw=1, ls=(0, (3, 3)))


def scale(values: Sequence[float], first: float, last: float) -> Scale:
    """Return an axis that holds values with some air around them."""
    low, high = min(values), max(values)
    reach = max(math.log(high / low), math.log(4)) * (1 + 2 * AIR) / 2
    middle = math.sqrt(low * high)
    return Scale(middle / math.exp(reach), middle * math.exp(reach), first, last)


def short(value: float) -> str:
    """Write a million so that it fits under its tick."""
    return f"{value / 1e6:g} M"

"""The verdict strip: the main measurements of each model as dots with their intervals."""

from dataclasses import replace

from matplotlib.axes import Axes

from unsee.nouns import Measurement, Run
from unsee.reporting._glossary import Measure
from unsee.reporting._measures import MEASURES
from unsee.reporting._style import COLOURS, MARKERS, found, interval, models, number
from unsee.reporting._svg import FAINT, RULE, Picture, Sheet

WIDTH, ROW, HEAD, FOOT = 250, 24, 4, 22  # pixels
LEFT, RIGHT = 68, 60  # for the names of the models, for the values
COLUMNS = 4
DOWNWARDS = ("retain_accuracy", "test_accuracy")
READING = "Does the diamond lie inside the band? The aim is the band itself, on neither side of it."
WARNING = "Bars are 95 % intervals over images, for this one seed, and not over seeds."


def panels(run: Run) -> list[tuple[Measure, Picture]]:
    """Return one small picture per main measurement that any model has."""
    made = []
    for name in _main(run):
        known = MEASURES[name]
        sheet = Sheet(f"panel-{name}", WIDTH, _height(run))
        _panel(sheet, run, name, 0, 0)
        alt = f"{known.title}. " + "; ".join(
            f"{model}: {number(m.value, known.kind)}, 95 % interval {interval(m, known.kind)}"
            for model in models(run)
            if (m := found(run, model, name))
        )
        made.append((known, Picture(sheet.name, known.title, alt, sheet.svg(alt))))
    return made


def strip(run: Run) -> Picture | None:
    """Return all of it as one picture, for use outside the report."""
    names = _main(run)
    if not names:
        return None
    step = _height(run) + 34
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    sheet = Sheet("verdict", columns * (WIDTH + 20) - 20, lines * step - 10)
    for n, name in enumerate(names):
        left, top = n % columns * (WIDTH + 20), n // columns * step
        sheet.write(left, top + 9, MEASURES[name].title, size=13, weight="bold")
        _panel(sheet, run, name, left, top + 22)
    alt = f"{len(names)} measurements of the {', '.join(models(run))} model with 95 % intervals"
    return Picture("verdict", "Before and after", alt, sheet.svg(alt))


def band(run: Run, name: str) -> tuple[float, float] | None:
    """Return the verdict's band of the retrained models with its margin, None without one.

    Only a fall of accuracy on what is to stay counts: there the band has no upper end.
    """
    judged = run.verdict.get("audits", {}).get(name) or {}
    low, high = judged.get("low"), judged.get("high")
    if low is None or high is None:
        return None
    return float(low), float("inf") if name in DOWNWARDS else float(high)


def _main(run: Run) -> list[str]:
    names = (name for name, known in MEASURES.items() if known.strip)
    return [name for name in names if any(found(run, model, name) for model in models(run))]


def _height(run: Run) -> int:
    return HEAD + ROW * len(models(run)) + FOOT


def _panel(sheet: Sheet, run: Run, name: str, left: float, top: float) -> None:
    known, present = MEASURES[name], models(run)
    span = WIDTH - LEFT - RIGHT
    measured = {model: found(run, model, name) for model in present}
    end = max(1.0, *(m.high for m in measured.values() if m))
    axes = sheet.axes(left + LEFT, top + HEAD, span, ROW * len(present))
    axes.set(xlim=(0, end), ylim=(len(present) - 0.5, -0.5))
    _aim(axes, run, name, end)
    for tick in (0.0, 0.5, 1.0):
        half = known.kind == "number" and tick == 0.5  # what chance gives
        axes.axvline(
            tick, color=FAINT if half else RULE, lw=0.8, ls="--" if half else "-", zorder=0
        )
        label = f"{100 * tick:.0f} %" if known.kind == "share" else f"{tick:g}"
        x = left + LEFT + span * tick / end
        sheet.write(x, top + _height(run) - 10, label, align="center", size=9.5, colour=FAINT)
    for row, model in enumerate(present):
        y = top + HEAD + ROW * (row + 0.5)
        sheet.write(left, y, model, size=11)
        m = measured[model]
        text = number(m.value, known.kind) if m else "–"
        weight = "bold" if model == "unlearned" else "normal"
        sheet.write(left + WIDTH, y, text, align="right", size=11.5, weight=weight)
        if m:
            dot(axes, m, row, model)


def _aim(axes: Axes, run: Run, name: str, end: float) -> None:
    """Draw the verdict's band with its thresholds; without one the retrained model's interval.

    Every retrained model is a faint tick at the bottom of its row.
    """
    colour = COLOURS["retrained"]
    retrained, judged = found(run, "retrained", name), band(run, name)
    span = judged or ((retrained.low, retrained.high) if retrained else None)
    if span:
        low, high = max(span[0], 0.0), min(span[1], end)
        axes.axvspan(low, high, color=colour, alpha=0.16, lw=0)
    for x in judged or ():
        if 0 <= x <= end:
            axes.axvline(x, color=colour, lw=1, ls=(0, (3, 2)))
    if retrained:
        axes.axvline(retrained.value, color=colour, lw=1, alpha=0.6)
    values = [x for x in run.references.get(name, ()) if x is not None]
    if len(values) > 1 and retrained:
        row = models(run).index("retrained")
        axes.vlines(values, row + 0.27, row + 0.47, color=colour, lw=1, alpha=0.75)


def dot(axes: Axes, m: Measurement, y: float, model: str, *, size: float = 6.5) -> None:
    """Draw one measurement at height ``y``: marker and 95 % interval."""
    m = replace(m, low=min(m.low, m.value), high=max(m.high, m.value))
    colour = COLOURS[model]
    axes.plot([m.low, m.high], [y, y], color=colour, lw=2, clip_on=False)
    size -= 1 if MARKERS[model] == "D" else 0
    marker = {"marker": MARKERS[model], "ms": size, "color": colour, "clip_on": False}
    axes.plot([m.value], [y], ls="", **marker)  # type: ignore[arg-type]

"""What each stage still knows: probe, CKA and weight change from the input to the features."""

from typing import Any

from unsee.nouns import Measurement, Run
from unsee.reporting._style import (
    COLOURS,
    DASHES,
    MARKERS,
    Kind,
    found,
    interval,
    models,
    number,
    percent,
    shortened,
    stages,
)
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, PANEL, HEAD, GAP, FOOT = 400, 112, 28, 14, 58  # pixels
LEFT, RIGHT = 44, 26
PANELS = {  # name of the measurement: title, whether it is a share
    "stage_probe_recall": "Probe recall of the forgotten class",
    "cka_original": "CKA to the original, unseen images of the forgotten kind",
    "cka_retrained": "CKA to the retrained model, the same images",
    "weight_change": "Weight change relative to the original",
}
TABLE = (*PANELS, "cka_original_retain", "cka_retrained_retain")
READING = (
    "Where the unlearned line leaves the original's and joins the retrained one, that stage has "
    "changed as retraining would have changed it; where only the last point moves, only the output "
    "was touched."
)
WARNING = (
    "A retrained model is another training: its CKA and its weights differ from the original's for "
    "that reason alone. Weight change says how far, not what was forgotten."
)


def by_stage(run: Run) -> Picture | None:
    """Return all of it as lines over the stages, one panel below the other."""
    shown = [name for name in PANELS if stages(run, name)]
    if not shown:
        return None
    order = stages(run, *shown)
    step = HEAD + PANEL + GAP
    sheet = Sheet("stages", WIDTH, len(shown) * step + FOOT)
    width = WIDTH - LEFT - RIGHT
    for n, name in enumerate(shown):
        _panel(sheet, run, name, order, n * step + HEAD)
    bottom, last = len(shown) * step - GAP, max(len(order) - 1, 1)
    room = int(width / last / 6)
    for n, stage in enumerate(order):
        x = LEFT + width * n / last
        low = 12 if len(order) > 5 and n % 2 else 0
        text = shortened(stage, max(room * (2 if len(order) > 5 else 1), 8))
        side = "right" if n == len(order) - 1 and n else "center"
        x += RIGHT if side == "right" else 0
        sheet.write(x, bottom + 13 + low, text, align=side, size=9.5, colour=FAINT)
    present = models(run)
    for n, model in enumerate(present):
        x, y = LEFT + 100 * n, bottom + 50
        look: dict[str, Any] = {"color": COLOURS[model], "marker": MARKERS[model], "ms": 5}
        sheet.paper.plot([x, x + 24], [y, y], lw=2, ls=DASHES[model], markevery=[1], **look)
        sheet.write(x + 32, y, model, size=10.5)
    alt = f"By stage, for {', '.join(present)}: " + ", ".join(PANELS[name] for name in shown)
    head = ("what", "stage", *present)
    rows = tuple(
        (
            name.replace("_", " ").replace("cka", "CKA"),
            stage,
            *(_cell(found(run, model, f"{name}/{stage}"), name) for model in present),
        )
        for name in TABLE
        for stage in stages(run, name)
    )
    title = "What each stage still knows"
    return Picture("stages", title, alt, sheet.svg(alt), head, rows, READING, WARNING)


def _panel(sheet: Sheet, run: Run, name: str, order: list[str], top: float) -> None:
    values = {
        model: [(k, m) for k, stage in enumerate(order) if (m := _at(run, model, name, stage))]
        for model in models(run)
    }
    if name == "weight_change":
        values.pop("original", None)
    if name == "cka_original":
        values.pop("original", None)  # 1 by definition
    if name == "cka_retrained":
        values.pop("retrained", None)
    every = [m for points in values.values() for _, m in points]
    high = max([1.0, *(m.high for m in every)]) if name == "weight_change" else 1.0
    low = min([0.0, *(m.low for m in every)])
    axes = sheet.axes(LEFT, top, WIDTH - LEFT - RIGHT, PANEL)
    last = max(len(order) - 1, 1)
    axes.set(xlim=(0, last), ylim=(low, high))
    axes.hlines([0, 0.5, 1], 0, last, color=RULE, lw=0.8)
    sheet.write(LEFT, top - 15, PANELS[name], weight="bold", size=10.5)
    for tick in (0.0, 0.5, 1.0):
        y = top + PANEL * (high - tick) / (high - low)
        text = percent(tick) if name == "stage_probe_recall" else f"{tick:g}"
        sheet.write(LEFT - 8, y, text, align="right", size=10, colour=FAINT)
    for model, points in values.items():
        colour = COLOURS[model]
        for k, m in points:
            axes.plot([k, k], [m.low, m.high], color=colour, lw=1.2, alpha=0.6, clip_on=False)
        places, middles = [k for k, _ in points], [m.value for _, m in points]
        axes.plot(places, middles, color=colour, lw=2, ls=DASHES[model], clip_on=False)
        for k, m in points:
            look: dict[str, Any] = {
                "color": colour,
                "marker": MARKERS[model],
                "ms": 5,
                "clip_on": False,
            }
            (mark,) = axes.plot([k], [m.value], ls="", **look)
            sheet.hint(mark, f"{model}, {order[k]}: {_cell(m, name)}")
    if not every:
        sheet.write(LEFT + 8, top + PANEL / 2, "not measured", size=10, colour=INK)


def _at(run: Run, model: str, name: str, stage: str) -> Measurement | None:
    return found(run, model, f"{name}/{stage}")


def _cell(m: Measurement | None, name: str) -> str:
    if m is None:
        return "–"
    kind: Kind = "share" if name == "stage_probe_recall" else "number"
    return f"{number(m.value, kind)} ({interval(m, kind)})"

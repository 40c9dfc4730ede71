"""The attack by loss, point by point, where it counts: at few false alarms."""

import numpy as np

from unsee.nouns import Measurement, Run
from unsee.reporting._losses import power
from unsee.reporting._style import COLOURS, DASHES, Kind, array, found, interval, models, number
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, SIDE, HEAD, FOOT = 400, 300, 12, 66  # pixels
LEFT = 58
ATTACKS = ("loss", "confidence", "entropy", "modified_entropy", "margin", "learned")
COLUMNS = {  # of the table of all attacks
    "membership_auc": "AUC",
    "membership_two_sided": "two-sided",
    "membership_tpr": "TPR at 1 % FPR",
    "membership_tpr_strict": "TPR at 0.1 % FPR",
    "membership_epsilon": "ε at least",
}
READING = (
    "Curve on the dashed diagonal, inside its band: guessing by loss does no better than chance. "
    "Above it on the left: some images are given away almost without false alarms."
)
WARNING = (
    "Left of 1/n nothing can be known. The rates are pooled over images, so a single image may be "
    "more exposed than they say; other attacks stand in the table, and picking the best of them is "
    "picking."
)


def roc(run: Run) -> Picture | None:
    """Return the ROC curves of the attack by loss with their bands, on logarithmic axes."""
    curves = {m: c for m in models(run) if (c := array(run, f"{m}/roc/loss")) is not None}
    if not curves:
        return None
    least = min(float(c[:2][c[:2] > 0].min(initial=1.0)) for c in curves.values())
    first = min(int(np.floor(np.log10(least) + 1e-9)), -1)
    low = 10.0**first
    width = WIDTH - LEFT - 12
    sheet = Sheet("roc", WIDTH, HEAD + SIDE + FOOT)
    axes = sheet.axes(LEFT, HEAD, width, SIDE)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlim=(low, 1), ylim=(low, 1))
    for exponent in range(first, 1):
        share = (exponent - first) / -first
        x, y = LEFT + width * share, HEAD + SIDE * (1 - share)
        axes.axvline(10.0**exponent, color=RULE, lw=0.8, zorder=0)
        axes.axhline(10.0**exponent, color=RULE, lw=0.8, zorder=0)
        sheet.write(x, HEAD + SIDE + 13, power(exponent), align="center", size=10, colour=FAINT)
        sheet.write(LEFT - 6, y, power(exponent), align="right", size=10, colour=FAINT)
    axes.plot([low, 1], [low, 1], color=INK, lw=1, ls=(0, (3, 2)))
    for model, points in curves.items():
        fpr, tpr, lower, upper = points.astype(np.float64).clip(low, 1)
        axes.fill_between(fpr, lower, upper, color=COLOURS[model], alpha=0.13, lw=0)
        faint = 0.55 if model == "original" else 1.0
        (line,) = axes.plot(fpr, tpr, color=COLOURS[model], lw=2, ls=DASHES[model], alpha=faint)
        auc = found(run, model, "membership_auc")
        sheet.hint(line, f"{model}{f': AUC {number(auc.value)}' if auc else ''}")
    middle = HEAD + SIDE + 30
    axis = "false positive rate (unseen images called forgotten), log"
    sheet.write(LEFT + width / 2, middle, axis, align="center", size=10, colour=FAINT)
    sheet.write(LEFT + 8, HEAD + 8, "true positive rate, log", size=10, colour=FAINT)
    key(sheet, list(curves), LEFT, middle + 20, width / 3)
    alt = f"ROC curves of the attack by loss, log-log with 95 % bands: {', '.join(curves)}"
    head = ("attack", "model", *COLUMNS.values())
    title = "The attack by loss at few false alarms"
    rows = tuple(_rows(run))
    return Picture("roc", title, alt, sheet.svg(alt), head, rows, READING, WARNING)


def key(sheet: Sheet, present: list[str], left: float, y: float, step: float) -> None:
    """Say which line is whose: a stroke of its colour and dashes, and the model's name."""
    for n, model in enumerate(present):
        x = left + n * step
        sheet.paper.plot([x, x + 24], [y, y], color=COLOURS[model], lw=2, ls=DASHES[model])
        sheet.write(x + 30, y, model, size=10.5)


def _rows(run: Run) -> list[tuple[str, ...]]:
    """Return the table of all attacks; the attack by loss has the names without an addition."""
    rows = []
    for attack in ATTACKS:
        for model in models(run):
            end = "" if attack == "loss" else f"/{attack}"
            cells = [found(run, model, f"{name}{end}") for name in COLUMNS]
            if any(cells):
                kinds = [name.startswith("membership_tpr") for name in COLUMNS]
                written = (_cell(m, share) for m, share in zip(cells, kinds, strict=True))
                rows.append((attack.replace("_", " "), model, *written))
    return rows


def _cell(m: Measurement | None, share: bool) -> str:
    kind: Kind = "share" if share else "number"
    return f"{number(m.value, kind)} ({interval(m, kind)})" if m else "–"

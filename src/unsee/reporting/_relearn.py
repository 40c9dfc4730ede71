"""How fast a model learns the forgotten images again: what was only hidden comes back at once."""

from typing import Any

import numpy as np

from unsee.nouns import Run
from unsee.reporting._style import COLOURS, DASHES, MARKERS, array, models, number, percent
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, PANEL, HEAD, GAP, FOOT = 400, 150, 24, 34, 46  # pixels
LEFT = 44
KINDS = {"recall": "as delivered", "recall_restored": "with the original output layer put back"}
READING = (
    "Unlearned on the retrained model's curve: it has to learn the images anew. Above it, towards "
    "the original's: they were hidden, not gone."
)
WARNING = (
    "One order of batches at one rate for all models, no seeds: small gaps say nothing. A damaged "
    "model learns slowly too, and has forgotten nothing by that."
)


def relearning(run: Run) -> Picture | None:
    """Return recall after steps of relearning, as delivered and with the old output layer."""
    curves = {
        (kind, model): (steps, recall)
        for kind in KINDS
        for model in models(run)
        if (steps := array(run, f"{model}/relearn/steps")) is not None
        and (recall := array(run, f"{model}/relearn/{kind}")) is not None
    }
    if not curves:
        return None
    kinds = [kind for kind in KINDS if any(kind == k for k, _ in curves)]
    last = max(float(steps.max()) for steps, _ in curves.values()) or 1.0
    step = HEAD + PANEL + GAP
    sheet = Sheet("relearning", WIDTH, len(kinds) * step + FOOT - GAP + 12)
    width = WIDTH - LEFT - 12
    for n, kind in enumerate(kinds):
        top = n * step + HEAD
        axes = sheet.axes(LEFT, top, width, PANEL)
        axes.set(xlim=(0, last), ylim=(0, 1))
        axes.hlines([0, 0.5, 1], 0, last, color=RULE, lw=0.8)
        sheet.write(LEFT, top - 12, KINDS[kind], weight="bold")
        for share in (0, 0.5, 1):
            y = top + PANEL * (1 - share)
            sheet.write(LEFT - 6, y, percent(share), align="right", size=10, colour=FAINT)
        for model in models(run):
            if (kind, model) not in curves:
                continue
            steps, recall = curves[kind, model]
            look: dict[str, Any] = {
                "color": COLOURS[model],
                "marker": MARKERS[model],
                "ms": 5,
                "clip_on": False,
            }
            dashed = (0, (4, 2)) if kind == "recall_restored" else DASHES["original"]
            (line,) = axes.plot(steps, recall, lw=2, ls=dashed, **look)
            sheet.hint(line, f"{model}, {KINDS[kind]}: {number(float(recall[-1]), 'share')} at end")
        for tick in np.linspace(0, last, 5):
            x = LEFT + width * tick / last
            sheet.write(x, top + PANEL + 13, f"{tick:g}", align="center", size=10, colour=FAINT)
    foot = len(kinds) * step - GAP + 30
    sheet.write(LEFT + width, foot, "steps", align="right", size=10, colour=FAINT)
    present = [model for model in models(run) if any(m == model for _, m in curves)]
    for n, model in enumerate(present):
        sheet.paper.plot([LEFT + 4 + 90 * n], [foot], color=COLOURS[model], marker=MARKERS[model])
        sheet.write(LEFT + 12 + 90 * n, foot, model, size=10.5, colour=INK)
    alt = f"Recall of the forgotten images by steps of relearning, for {', '.join(present)}"
    head = ("model", "how", "steps", "recall")
    rows = tuple(
        (model, KINDS[kind], f"{x:g}", number(float(y), "share"))
        for (kind, model), (steps, recall) in curves.items()
        for x, y in zip(steps, recall, strict=True)
    )
    title = "Learning the forgotten images again"
    return Picture("relearning", title, alt, sheet.svg(alt), head, rows, READING, WARNING)

"""Image by image: which are still remembered, where a fleet of retrained models can tell."""

from typing import Any

import numpy as np
from scipy.stats import t as student

from unsee.nouns import Run
from unsee.reporting._style import COLOURS, array
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, TALL, HEAD, FOOT, LEFT = 400, 170, 14, 44, 44  # pixels
POINTS = 240  # dots; more would lie on each other
FEWEST = 16  # retrained models behind a list of images
READING = (
    "Each dot is a forgotten image, sorted by how far its score lies from those of models that "
    "never saw it, in their standard deviations. Inside the grey band: as if never seen."
)


def exposure(run: Run) -> Picture | None:
    """Return the forgotten images sorted by z, those still remembered marked."""
    z = array(run, "unlearned/forget/z")
    if z is None:
        return None
    still = run.arrays.get("unlearned/forget/still", np.zeros(len(z), bool)).astype(bool)
    kept = np.isfinite(z)
    z, still = z[kept].astype(np.float64), still[kept]
    if not len(z):
        return None
    order = np.argsort(-z, kind="stable")
    z, still = z[order], still[order]
    sheet = Sheet("exposure", WIDTH, HEAD + TALL + FOOT)
    width = WIDTH - LEFT - 12
    low, high = min(-3.0, float(z.min())), max(3.0, float(z.max()))
    axes = sheet.axes(LEFT, HEAD, width, TALL)
    axes.set(xlim=(-0.5, len(z) - 0.5), ylim=(low, high))
    axes.axhspan(-2, 2, color=FAINT, alpha=0.12, lw=0)
    axes.axhline(0, color=RULE, lw=1)
    for tick in (low, -2.0, 0.0, 2.0, high):
        if tick in (low, high) and min(abs(tick - 2), abs(tick + 2)) < 0.12 * (high - low):
            continue
        y = HEAD + TALL * (high - tick) / (high - low)
        text = f"{tick:.2g}".replace("-", "−")
        sheet.write(LEFT - 8, y, text, align="right", size=10, colour=FAINT)
    drawn = np.unique(
        np.r_[np.linspace(0, len(z) - 1, min(len(z), POINTS)).round(), still.nonzero()[0][:POINTS]]
    )
    some = drawn.astype(int)
    plain, marked = some[~still[some]], some[still[some]]
    colour = COLOURS["unlearned"]
    axes.plot(plain, z[plain], ls="", marker="o", ms=2.6, color=colour, alpha=0.6, clip_on=False)
    look: dict[str, Any] = {"marker": "D", "ms": 4.5, "mfc": "none", "mec": colour, "mew": 1.4}
    axes.plot(marked, z[marked], ls="", clip_on=False, **look)
    total = int(still.sum())
    text = f"forgotten images, sorted; ◇ stand out: {total:,} of {len(z):,}"
    sheet.write(LEFT, HEAD + TALL + 20, text, size=10.5, colour=INK)
    alt = f"z of {len(z)} forgotten images, sorted; {total} are named as standing out"
    head = ("rank", "z", "stands out", "image")
    names = (f"unlearned/forget/worst_{what}" for what in ("z", "still", "ids"))
    worst = [x for name in names if (x := array(run, name)) is not None]
    listed = zip(*worst, strict=True) if len(worst) == 3 else ()  # all of it, or nothing
    rows = tuple(
        (
            f"{n + 1}",
            f"{value:.2f}".replace("-", "−"),
            ("still remembered" if value > 0 else "less sure than retrained") if named else "no",
            str(name),
        )
        for n, (value, named, name) in enumerate(listed)
    )
    title = "Image by image"
    return Picture(
        "exposure", title, alt, sheet.svg(alt), head, rows, READING, _warning(run, len(z))
    )


def _warning(run: Run, n: int) -> str:
    k = int(run.fleet.get("k") or run.verdict.get("k") or FEWEST)
    chance = round(2 * float(student.sf(2, k - 1)) * n)
    return (
        f"Many images are tested at once: of {n:,} images never seen, about {chance:,} would lie "
        f"beyond 2 on either side by chance alone ({k} models). The marks keep the expected share "
        "of false ones at 5 %. A single mark is a reason to look, and no finding about that image."
    )

"""Losses of forgotten and of never-seen images: a trace of memory is a gap between the two."""

import numpy as np
from numpy.typing import NDArray

from unsee.nouns import Run
from unsee.reporting._style import COLOURS, models
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, PANEL, HEAD, GAP, FOOT = 400, 104, 22, 12, 40  # pixels
LEFT, RIGHT = 40, 14
FLOOR = 1e-6  # float32 rounds smaller losses to nothing
STEPS = 160  # a curve drawn in finer steps looks the same


def losses(run: Run) -> Picture | None:
    """Return the distribution functions of the losses, one panel per model, one range for all."""
    pairs = {
        model: tuple(run.arrays.get(f"{model}/{part}/loss") for part in ("forget", "unseen"))
        for model in models(run)
    }
    full = {
        model: (forget[np.isfinite(forget)], unseen[np.isfinite(unseen)])
        for model, (forget, unseen) in pairs.items()
        if forget is not None and unseen is not None
    }
    full = {model: pair for model, pair in full.items() if all(map(len, pair))}
    if not full:
        return None
    everything = np.concatenate([x for pair in full.values() for x in pair])
    low, high = 10.0 ** np.array(
        [_log(everything.min(), np.floor), _log(everything.max(), np.ceil)]
    )
    step = HEAD + PANEL + GAP
    sheet = Sheet("losses", WIDTH, len(full) * step + FOOT)
    for n, (model, (forget, unseen)) in enumerate(full.items()):
        top = n * step + HEAD
        axes = sheet.axes(LEFT, top, WIDTH - LEFT - RIGHT, PANEL)
        axes.set_xscale("log")
        axes.set(xlim=(low, high), ylim=(0, 1))
        axes.tick_params(which="both", left=False, bottom=False, labelleft=False, labelbottom=False)
        axes.hlines([0, 0.5, 1], low, high, color=RULE, lw=0.8)
        axes.plot(*_curve(forget), color=COLOURS[model], lw=3, clip_on=False)
        axes.plot(*_curve(unseen), color=INK, lw=1.2, ls=(0, (3, 2)), clip_on=False)
        sheet.write(LEFT, top - 11, model, weight="bold")
        medians = f"median: forgotten {np.median(forget):.3g}, unseen {np.median(unseen):.3g}"
        sheet.write(WIDTH - RIGHT, top - 11, medians, align="right", size=10, colour=FAINT)
        for share in (0, 1):
            y = top + PANEL * (1 - share)
            sheet.write(LEFT - 6, y, f"{share:.0%}", align="right", size=10, colour=FAINT)
    _exponents(sheet, low, high, len(full) * step - GAP)
    alt = "Distribution functions of the loss of forgotten and of never-seen images, per model"
    head = ("model", "images", "n", "5 %", "25 %", "median", "75 %", "95 %")
    rows = tuple(
        (
            model,
            what,
            f"{len(x):,}",
            *(f"{q:.3g}" for q in np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95))),
        )
        for model, pair in full.items()
        for what, x in zip(("forgotten", "never seen"), pair, strict=True)
    )
    return Picture("losses", "Loss of each image", alt, sheet.svg(alt), head, rows)


def _curve(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return losses and the share of images at or below them, in at most ``STEPS`` steps."""
    ordered = np.sort(values.astype(np.float64)).clip(min=FLOOR)
    n = len(ordered)
    places = np.unique(np.linspace(0, n - 1, min(n, STEPS)).round().astype(int))
    shares = (places + 1) / n
    return np.repeat(ordered[places], 2), np.stack([np.r_[0, shares[:-1]], shares], 1).ravel()


def _log(value: float, towards: np.ufunc) -> float:
    return float(towards(np.log10(max(float(value), FLOOR)) + (1e-9 if towards is np.ceil else 0)))


def _exponents(sheet: Sheet, low: float, high: float, top: float) -> None:
    first, last = round(np.log10(low)), round(np.log10(high))
    span = WIDTH - LEFT - RIGHT
    for exponent in range(first, last + 1):
        x = LEFT + span * (exponent - first) / (last - first)
        text = f"{10.0**exponent:g}" if abs(exponent) < 4 else f"1e{exponent}"
        sheet.write(x, top + 13, text.replace("-", "−"), align="center", size=10, colour=FAINT)
    sheet.write(LEFT + span / 2, top + 29, "loss, log scale", align="center", size=10, colour=FAINT)

"""Losses and confidences of forgotten and of never-seen images: memory is a gap between the two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsee.nouns import Run
from unsee.reporting._style import COLOURS, array, models, percent
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, PANEL, HEAD, GAP, FOOT = 400, 104, 22, 12, 40  # pixels
LEFT, RIGHT = 40, 14
FLOOR = 1e-6  # float32 rounds smaller losses to nothing
STEPS = 160  # a curve drawn in finer steps looks the same
WARNING = (
    "Forgotten images may lie apart for another reason: they were training images, or harder ones; "
    "hold the gap against the retrained model's. One range for all models, temperature 1."
)


@dataclass(frozen=True)
class Score:
    """What is known of each image, and how its axis is drawn."""

    name: str  # of the picture
    array: str
    title: str
    axis: str
    reading: str
    log: bool


LOSS = Score(
    *("losses", "loss", "Loss of each image", "loss, log scale"),
    "Full line: share of forgotten images with at most that loss; dashed: never-seen images of the "
    "same kind. On each other: as if never seen. Full line to the left: still known; to the right: "
    "they stand out.",
    True,
)
CONFIDENCE = Score(
    *("confidences", "confidence", "Confidence in each image", "largest probability"),
    "Full line: share of forgotten images answered with at most that confidence; dashed: never-"
    "seen images of the same kind. On each other: as if never seen.",
    False,
)


def losses(run: Run) -> Picture | None:
    """Return the distribution functions of the losses, one panel per model, one range for all."""
    return _curves(run, LOSS)


def confidences(run: Run) -> Picture | None:
    """Return those of the largest probability."""
    return _curves(run, CONFIDENCE)


def _curves(run: Run, score: Score) -> Picture | None:
    full = _pairs(run, score)
    if not full:
        return None
    low, high = _range([x for pair in full.values() for x in pair]) if score.log else (0.0, 1.0)
    step = HEAD + PANEL + GAP
    sheet = Sheet(score.name, WIDTH, len(full) * step + FOOT)
    for n, (model, (forget, unseen)) in enumerate(full.items()):
        top = n * step + HEAD
        axes = sheet.axes(LEFT, top, WIDTH - LEFT - RIGHT, PANEL)
        axes.set_xscale("log" if score.log else "linear")
        axes.set(xlim=(low, high), ylim=(0, 1))
        axes.hlines([0, 0.5, 1], low, high, color=RULE, lw=0.8)
        floor = FLOOR if score.log else 0.0
        (line,) = axes.plot(*_curve(forget, floor), color=COLOURS[model], lw=3, clip_on=False)
        sheet.hint(line, f"{model}: {len(forget):,} forgotten images")
        dashed = axes.plot(*_curve(unseen, floor), color=INK, lw=1.2, ls=(0, (3, 2)), clip_on=False)
        sheet.hint(dashed[0], f"{model}: {len(unseen):,} never-seen images")
        sheet.write(LEFT, top - 11, model, weight="bold")
        medians = f"median: forgotten {np.median(forget):.3g}, unseen {np.median(unseen):.3g}"
        sheet.write(WIDTH - RIGHT, top - 11, medians, align="right", size=10, colour=FAINT)
        for share in (0, 1):
            y = top + PANEL * (1 - share)
            sheet.write(LEFT - 6, y, percent(share), align="right", size=10, colour=FAINT)
    _ticks(sheet, score, low, high, len(full) * step - GAP)
    alt = (
        f"Distribution functions of the {score.array} of forgotten and of never-seen images, "
        "per model"
    )
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
    return Picture(
        *(score.name, score.title, alt, sheet.svg(alt), head, rows), score.reading, WARNING
    )


def _pairs(run: Run, score: Score) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the finite scores of forgotten and of never-seen images of each model with both."""
    full = {}
    for model in models(run):
        pair = [array(run, f"{model}/{part}/{score.array}") for part in ("forget", "unseen")]
        finite = [x[np.isfinite(x)].astype(np.float64) for x in pair if x is not None]
        if len(finite) == 2 and all(map(len, finite)):
            full[model] = (finite[0], finite[1])
    return full


def _range(values: list[NDArray[np.float64]]) -> tuple[float, float]:
    everything = np.concatenate(values)
    low, high = _log(everything.min(), np.floor), _log(everything.max(), np.ceil)
    return 10.0**low, 10.0 ** max(high, low + 1)


def _curve(
    values: NDArray[np.float64], floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scores and the share of images at or below them, in at most ``STEPS`` steps."""
    ordered = np.sort(values).clip(min=floor)
    n = len(ordered)
    places = np.unique(np.linspace(0, n - 1, min(n, STEPS)).round().astype(int))
    shares = (places + 1) / n
    return np.repeat(ordered[places], 2), np.stack([np.r_[0, shares[:-1]], shares], 1).ravel()


def _log(value: float, towards: np.ufunc) -> float:
    return float(towards(np.log10(max(float(value), FLOOR)) + (1e-9 if towards is np.ceil else 0)))


def _ticks(sheet: Sheet, score: Score, low: float, high: float, top: float) -> None:
    span = WIDTH - LEFT - RIGHT
    if score.log:
        first, last = round(np.log10(low)), round(np.log10(high))
        places = {power(e): (e - first) / (last - first) for e in range(first, last + 1)}
    else:
        places = {f"{x:g}": x for x in (0.0, 0.25, 0.5, 0.75, 1.0)}
    for text, share in places.items():
        sheet.write(LEFT + span * share, top + 13, text, align="center", size=10, colour=FAINT)
    sheet.write(LEFT + span / 2, top + 29, score.axis, align="center", size=10, colour=FAINT)


def power(exponent: int) -> str:
    """Write a power of ten as a tick of a logarithmic axis."""
    text = f"{10.0**exponent:g}" if abs(exponent) < 4 else f"1e{exponent}"
    return text.replace("-", "−")

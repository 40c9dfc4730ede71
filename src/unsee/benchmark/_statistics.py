"""Means and intervals over seeds, and which methods cannot be told apart."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, ttest_1samp

LEVEL = 0.05
Distances = NDArray[np.float64]  # of one seed: one per image


@dataclass(frozen=True)
class Figure:
    """A mean over ``n`` seeds with its 95 % interval; of one seed, that over images, or none."""

    value: float
    low: float | None
    high: float | None
    n: int
    each: tuple[float, ...] = ()

    @property
    def reach(self) -> float | None:
        """How far the interval reaches on its longer side; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return max(self.value - self.low, self.high - self.value)


def mean(values: Sequence[float], alone: tuple[float, float] | None = None) -> Figure:
    """Return the mean over seeds with Student's interval; of one seed, with the interval given.

    >>> mean([1.0, 2.0, 3.0]).reach
    2.484...
    """
    n = len(values)
    middle = math.fsum(values) / n
    if n == 1:
        low, high = alone or (None, None)
        return Figure(middle, low, high, 1, tuple(values))
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1)) / math.sqrt(n)
    return Figure(middle, middle - half, middle + half, n, tuple(values))


def ranked(
    apart: dict[str, dict[int, Distances]], seeds: Collection[int] = ()
) -> dict[str, tuple[str, float | None]]:
    """Say which method is nearest to retraining, and which others may be.

    Of the methods that finished every seed the one of the smallest mean distance is the best.  The
    best and those tied with it are a set that holds the truly nearest method with 95 % confidence
    (subset selection, Gupta 1965): a method leaves it if it is farther than some other one by
    :func:`farther_p`, adjusted by Bonferroni for as many as it is compared with.  So it does not
    matter that the best was picked from the same figures.

    Args:
        apart: by method and seed, the distance of every forgotten image.
        seeds: that were asked for; none: all that some method has.

    Returns:
        Of the methods that can be compared, two at least: best, tied or "", and the adjusted p.

    """
    wanted = {*seeds} or {seed for by_seed in apart.values() for seed in by_seed}
    whole = {method: found for method, found in apart.items() if found.keys() == wanted}
    if (
        len(whole) < 2 or len(wanted) == 2
    ):  # one is nobody's rival; the t of two tells next to nothing
        return {}
    lists = {method: [found[seed] for seed in sorted(found)] for method, found in whole.items()}
    middle = {method: float(np.mean([x.mean() for x in some])) for method, some in lists.items()}
    best = min(middle, key=lambda method: (middle[method], method))
    places: dict[str, tuple[str, float | None]] = {best: ("best", None)}
    for method in whole.keys() - {best}:
        nearer = [other for other in whole if middle[other] < middle[method]]
        least = min((farther_p(lists[method], lists[other]) for other in nearer), default=1.0)
        p = min(1.0, (len(whole) - 1) * least)
        places[method] = ("tied" if p > LEVEL else "", p)
    return places


def farther_p(first: list[Distances], second: list[Distances]) -> float:
    """Return the one-sided p of one method not being farther from retraining than another.

    Student's paired t: of several seeds over their means, since a seed, not an image, is what would
    be drawn anew.  Of one seed there are only its images, which say nothing of other seeds.

    Args:
        first: of each seed, one number per image.
        second: the same images of the same seeds.

    Returns:
        In 0..1, small where ``first`` is farther.

    """
    changes = [a - b for a, b in zip(first, second, strict=True)]
    drawn = np.array([x.mean() for x in changes]) if len(changes) > 1 else changes[0]
    if len(drawn) < 2:  # of one image nothing can be told
        return 1.0
    if np.ptp(drawn) < 1e-12:  # so alike that there is no t
        return 0.0 if drawn[0] > 0 else 1.0
    return float(ttest_1samp(drawn, 0.0, alternative="greater").pvalue)

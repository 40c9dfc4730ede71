import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm, rankdata, t as student
from torch import Tensor

from unsee.nouns import Measurement

FEW = 10  # scores of a set
Floats = NDArray[np.float64]
Counts = NDArray[Any]


def clopper_pearson(hits: Counts, n: int, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the exact two-sided interval of shares ``hits / n`` (Clopper and Pearson 1934).

    >>> low, high = clopper_pearson(np.array([0, 10]), 10)
    >>> low.round(4).tolist(), high.round(4).tolist()
    ([0.0, 0.6915], [0.3085, 1.0])
    """
    hits, tail = np.asarray(hits, dtype=np.float64), (1 - level) / 2
    # The ends are set below; 1 stands in there for a parameter that has to be above 0.
    low = beta.ppf(tail, np.maximum(hits, 1), n - hits + 1)
    high = beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1))
    return np.where(hits > 0, low, 0.0), np.where(hits < n, high, 1.0)


def exact_share(hits: int, n: int, level: float = 0.95) -> Measurement:
    """Measure ``hits`` of ``n`` with Clopper and Pearson's interval."""
    low, high = (float(end) for end in clopper_pearson(np.array(hits), n, level))
    return Measurement(hits / n, min(hits / n, low), max(hits / n, high), n)


def auc_interval(
    positive: Tensor, negative: Tensor, level: float = 0.95, *, folds: int = 1
) -> Measurement:
    """Measure the area under the ROC curve, with DeLong's variance (DeLong et al. 1988).

    The interval is symmetrical in the log odds of the area, so that it stays inside 0..1 and that
    of the exchanged sets is its mirror image.  Where the variance is 0, as for sets that nowhere
    overlap, or where a set has one row: as wide as min(P, N) separate pairs allow which all came
    out alike (Clopper and Pearson).  A set of fewer than 10 says little of its own variance: that
    is then at least that of sets that are alike (Mann and Whitney 1947), with Student's quantile.

    Args:
        positive: ``[P]`` scores that should be high.
        negative: ``[N]`` scores that should be low; ties count a half.
        level: of the interval.
        folds: K > 1 says that the scores were cross-fitted: each fit was made from the images that
            the others score, so that chance differences repeat themselves.  The variance is then
            multiplied by 1 + K/(K - 1) (Nadeau and Bengio 2003).

    """
    p, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive.numpy(), negative.numpy()]))
    above = (ranks[:p] - rankdata(positive.numpy())) / n  # share of negatives below each positive
    below = 1 - (ranks[p:] - rankdata(negative.numpy())) / p  # and of positives above each negative
    value = min(1.0, max(0.0, float(above.mean())))
    fewest = min(p, n)
    variance = above.var(ddof=1) / p + below.var(ddof=1) / n if fewest > 1 else 0.0
    if 1 < fewest < FEW:
        variance = max(variance, (p + n + 1) / (12 * p * n) if 0 < value < 1 else variance)
    variance *= 1 + folds / (folds - 1) if folds > 1 else 1
    if variance < 1e-18 or not 0 < value < 1:
        reach = 1 - ((1 - level) / 2) ** (1 / fewest)
        return Measurement(value, max(0.0, value - reach), min(1.0, value + reach), p + n)
    tail = (1 + level) / 2
    quantile = float(student.ppf(tail, fewest - 1) if fewest < FEW else norm.ppf(tail))
    reach = quantile * math.sqrt(variance) / (value * (1 - value))
    odds = math.log(value / (1 - value))
    low, high = (0.5 + 0.5 * math.tanh((odds + side) / 2) for side in (-reach, reach))
    return Measurement(value, min(value, low), max(value, high), p + n)


def two_sided(area: Measurement) -> Measurement:
    """Measure max(AUC, 1 - AUC): what is told apart counts, and not on which side.

    The interval is the image of the given one, so it begins at 0.5 where that holds 0.5.  Without
    a difference the value lies above 0.5 all the same, by chance: look at the interval.
    """
    ends = [max(end, 1 - end) for end in (area.low, area.high)]
    low = 0.5 if area.low <= 0.5 <= area.high else min(ends)
    value = max(area.value, 1 - area.value)
    return Measurement(value, min(low, value), max(*ends, value), area.n)


def tpr_at_fpr(positive: Tensor, negative: Tensor, fpr: float) -> tuple[Measurement, Measurement]:
    """Measure the share of positives above a threshold that at most ``fpr`` of negatives exceed.

    The threshold is a negative's own score, and only what lies above it counts: with ties the FPR
    is lower than asked and never higher.

    Args:
        positive: ``[P]`` scores that should be high.
        negative: ``[N]`` scores that should be low.
        fpr: 0..1; below 1/N no negative may be above the threshold.

    Returns:
        The TPR and the FPR that was used, each with Clopper and Pearson's interval; that of the
        TPR takes the threshold as given.

    """
    ours, theirs = _sorted(positive), _sorted(negative)
    allowed = math.floor(fpr * len(theirs) + 1e-9)  # 0.07 * 100 is more than 7, 0.29 * 100 less
    hits, false = _above(ours, theirs, np.array([allowed]))
    return exact_share(int(hits[0]), len(ours)), exact_share(int(false[0]), len(theirs))


def roc_curve(positive: Tensor, negative: Tensor, points: int = 200) -> Floats:
    """Return ``[4, m]`` float64: FPR, TPR, and the TPR's Clopper-Pearson interval (95 %, each).

    From FPR 1/N (with ties perhaps above it) to 1, at up to ``points`` FPRs that lie evenly on a
    logarithmic axis.
    """
    ours, theirs = _sorted(positive), _sorted(negative)
    allowed = np.unique(np.geomspace(1, len(theirs), points).round().astype(np.int64))
    hits, false = _above(ours, theirs, allowed)
    false, first = np.unique(false, return_index=True)  # ties bring one point several times
    hits = hits[first][false > 0]
    false = false[false > 0]
    band = clopper_pearson(hits, len(ours))
    return np.stack([false / len(theirs), hits / len(ours), *band])


def epsilon_bound(
    positive: Tensor,
    negative: Tensor,
    *,
    rng: torch.Generator,
    delta: float = 0.0,
    level: float = 0.95,
) -> Measurement | None:
    """Bound from below the epsilon that an (epsilon, delta) guarantee could have, in nats.

    Such a guarantee means TPR <= e^epsilon FPR + delta for every attack (Kairouz et al. 2015), its
    complement 1 - FPR <= e^epsilon (1 - TPR) + delta included.  On a random half of each set the
    threshold, the direction and the side are chosen that promise most; the other half alone gives
    ln((TPR_low - delta) / FPR_high), from two one-sided Clopper-Pearson bounds (each at 97.5 % for
    a ``level`` of 95 %, so that both hold together).  One image counts as one independent trial.

    Args:
        positive: ``[P]`` scores of training images.
        negative: ``[N]`` scores of images never seen.
        rng: draws the halves; the order of the scores does not matter.
        delta: of the guarantee.
        level: with which the bound holds.

    Returns:
        The bound as value, low and high, 0 where nothing is shown; n: the images that bound it.
        None if a set has fewer than 2.

    """
    if min(len(positive), len(negative)) < 2:
        return None
    (ours, ours_held), (theirs, theirs_held) = (_halves(x, rng) for x in (positive, negative))
    pooled = np.sort(np.concatenate([ours, theirs]))
    low_end = np.geomspace(1, len(pooled), 100).round().astype(np.int64) - 1
    places = np.unique(np.concatenate([low_end, len(pooled) - 1 - low_end]))
    chosen = _bounds(ours, theirs, pooled[places], delta, level)
    side, place = np.unravel_index(chosen.argmax(), chosen.shape)
    held = _bounds(ours_held, theirs_held, pooled[places[place : place + 1]], delta, level)
    bound = max(0.0, float(held[side, 0]))
    return Measurement(bound, bound, bound, len(ours_held) + len(theirs_held))


def _bounds(ours: Floats, theirs: Floats, thresholds: Floats, delta: float, level: float) -> Floats:
    """Return ``[4, T]``: ours over theirs and theirs over ours, above and not above a threshold."""
    ends = []
    for scores in (ours, theirs):
        above = len(scores) - np.searchsorted(scores, thresholds, side="right")
        low, high = clopper_pearson(above, len(scores), level)
        ends.append(((low, high), (1 - high, 1 - low)))
    found = []
    for one, other in zip(*ends, strict=True):
        found += [_log_ratio(one[0] - delta, other[1]), _log_ratio(other[0] - delta, one[1])]
    return np.stack(found)


def _log_ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return ln of the ratio, and nothing shown (0) where the numerator is not above 0."""
    return np.log(np.maximum(numerator, 1e-300) / denominator).clip(min=0)


def _halves(scores: Tensor, rng: torch.Generator) -> tuple[Floats, Floats]:
    ordered = _sorted(scores)
    drawn = torch.randperm(len(ordered), generator=rng).numpy()
    half = len(ordered) // 2
    return np.sort(ordered[drawn[:half]]), np.sort(ordered[drawn[half:]])


def _sorted(scores: Tensor) -> Floats:
    return np.sort(scores.double().numpy())


def _above(ours: Floats, theirs: Floats, allowed: Counts) -> tuple[Counts, Counts]:
    """Count both above the lowest threshold that at most ``allowed`` of theirs exceed."""
    n = len(theirs)
    threshold = np.where(allowed < n, theirs[np.maximum(n - 1 - allowed, 0)], -np.inf)
    over = (len(x) - np.searchsorted(x, threshold, side="right") for x in (ours, theirs))
    hits, false = over
    return hits, false

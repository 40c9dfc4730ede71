"""Differences between two unlearned models on the same images, with 95 % intervals.

Images that both get right, or both wrong, say nothing about a difference: asked image by image, two
models are told apart by far fewer images than two separate intervals would need.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsee.nouns import Measurement, Run

Z = 1.959963984540054  # of the normal distribution, 97.5 %
RIGHT = {  # by the name of the measurement: where its images lie
    "forget_accuracy": "forget",
    "retain_accuracy": "retain",
    "test_accuracy": "test",
    "forgotten_test_accuracy": "unseen",
}


@dataclass(frozen=True)
class Difference:
    """What the second run has more than the first, image by image."""

    name: str
    measured: Measurement
    how: str


def same_images(first: Run, second: Run) -> str:
    """Return why the two did not audit the same images, "" if they did."""
    known = [run.data.get("fingerprint") for run in (first, second)]
    digests = [run.forget.get("ids_digest") for run in (first, second)]
    if None in known or None in digests:
        return "whether the images are the same is not recorded"
    if known[0] != known[1]:
        return "not the same images, as the data differ"
    return "" if digests[0] == digests[1] else "not the same images were to be forgotten"


def differences(first: Run, second: Run) -> list[Difference]:
    """Return the paired differences second less first of two unlearned models.

    Only what both have image by image is compared; nothing where the images are not the same.
    """
    if same_images(first, second):
        return []
    found = []
    for name, part in RIGHT.items():
        pair = _both(first, second, f"{part}/right")
        if pair:
            rights = (x.astype(bool) for x in pair)
            found.append(Difference(name, paired_shares(*rights), "paired, Agresti and Min"))
    forget, unseen = (_both(first, second, f"{part}/loss") for part in ("forget", "unseen"))
    if forget:
        finite = np.isfinite(forget[0]) & np.isfinite(forget[1])
        if finite.sum() > 1:
            mean = paired_means(*(x[finite].astype(np.float64) for x in forget))
            found.append(Difference("forget_loss", mean, "paired t"))
    if forget and unseen and min(len(forget[0]), len(unseen[0])) > 1:
        area = paired_aucs(forget[0], unseen[0], forget[1], unseen[1])
        found.append(Difference("membership_auc", area, "paired, DeLong"))
    return found


def _both(first: Run, second: Run, name: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return an array of both unlearned models, None unless it has the same images in both."""
    a, b = (run.arrays.get(f"unlearned/{name}") for run in (first, second))
    return None if a is None or b is None or not len(a) or len(a) != len(b) else (a, b)


def paired_shares(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Measurement:
    """Return the difference of two shares of the same images, second less first.

    The interval adds half an image to each of the four cells (Agresti and Min 2005), so that it
    has a width where the two agree on every image, too.
    """
    n = len(first)
    gained, lost = float((second & ~first).sum()), float((first & ~second).sum())
    b, c, m = gained + 0.5, lost + 0.5, n + 2.0
    middle, half = (b - c) / m, Z * np.sqrt(b + c - (b - c) ** 2 / m) / m
    value = (gained - lost) / n
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Measurement(value, float(min(low, value)), float(max(high, value)), n)


def paired_means(first: NDArray[np.float64], second: NDArray[np.float64]) -> Measurement:
    """Return the difference of two means over the same images, by the t distribution."""
    from scipy.stats import t

    change = second - first
    n, value = len(change), float(change.mean())
    half = float(t.ppf(0.975, n - 1)) * float(change.std(ddof=1)) / np.sqrt(n)
    return Measurement(value, float(value - half), float(value + half), n)


def paired_aucs(
    forget: NDArray[Any], unseen: NDArray[Any], forget2: NDArray[Any], unseen2: NDArray[Any]
) -> Measurement:
    """Return the difference of two AUCs by loss on the same images (DeLong et al. 1988)."""
    (own, other), (own2, other2) = _placed(forget, unseen), _placed(forget2, unseen2)
    value = float(own2.mean() - own.mean())
    spread = (own2 - own).var(ddof=1) / len(own) + (other2 - other).var(ddof=1) / len(other)
    half = Z * float(np.sqrt(spread))
    return Measurement(value, value - half, value + half, len(own) + len(other))


def _placed(
    forget: NDArray[Any], unseen: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return of each forgotten image the share of unseen ones with a larger loss, and reverse."""

    def share(of: NDArray[Any], among: NDArray[Any]) -> NDArray[np.float64]:
        ordered = np.sort(among)
        below, until = (np.searchsorted(ordered, of, side) for side in ("left", "right"))
        smaller = (below + until) / (2 * len(ordered))
        return np.asarray(smaller, np.float64)

    return 1 - share(forget, unseen), share(unseen, forget)

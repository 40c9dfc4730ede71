"""Where one more retrained model would lie."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from unsee.nouns import Measurement

State = Literal["inside", "above", "below", "unknown"]
UTILITY = frozenset({"retain_accuracy", "test_accuracy"})  # only a fall of these is a fault
SHARES = UTILITY | {"forget_accuracy", "forgotten_test_accuracy", "few_shot_recall"}  # of images
STEPS = 1.5  # images


@dataclass(frozen=True)
class Judged:
    """One audit of a verdict: a value, the band that it is held against, and what came of it."""

    value: float
    value_low: float  # its own 95 % interval, over images
    value_high: float
    original: float
    reference: float | None  # mean of the retrained models
    low: float | None  # the band, margin included; None with fewer than two retrained models
    high: float | None
    margin: float
    power: bool | None  # whether the original lies outside the band; None: there is no band
    state: State

    @property
    def too_much(self) -> bool:
        """Whether it tells of knowledge left over: above its band, or on the original's side."""
        if self.low is None or self.high is None:
            return False
        return self.state == "above" or (self.state == "below" and self.original < self.low)

    @property
    def informative(self) -> bool:
        """Whether original and retrained models differ by more than twice the margin."""
        apart = 0.0 if self.reference is None else abs(self.original - self.reference)
        return apart > 2 * self.margin

    def facts(self) -> dict[str, Any]:
        """Return what ``audit.json`` keeps."""
        return asdict(self)


def prediction_band(values: Sequence[float], level: float) -> tuple[float, float]:
    """Return where one more value of the same kind lies with probability 1 - ``level``.

    mean -+ t * s * sqrt(1 + 1/K), with the quantile 1 - level/2 of Student's t with K - 1 degrees
    of freedom: the prediction interval for one more draw from a normal distribution.

    Args:
        values: K >= 2 of them.
        level: in 0..1.

    """
    k = len(values)
    mean = math.fsum(values) / k
    s = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (k - 1))
    from scipy import stats  # half a second of every `unsee policy`

    half = float(stats.t.ppf(1 - level / 2, k - 1)) * s * math.sqrt(1 + 1 / k)
    return mean - half, mean + half


def judged(
    name: str,
    measured: Measurement,
    original: float,
    references: Sequence[float],
    level: float,
    margin: float,
) -> Judged:
    """Hold one value against the retrained models' band.

    Args:
        name: of the audit; retain and test accuracy are held against the lower end alone.
        measured: of the unlearned model.
        original: of the model before.
        references: of the K retrained models.
        level: of this audit alone: the family's level over the number of audits.
        margin: added on both sides.

    """
    k, value = len(references), measured.value
    mean = math.fsum(references) / k if k else None
    own = (value, measured.low, measured.high, original, mean)
    if k < 2 or mean is None:
        return Judged(*own, None, None, margin, None, "unknown")
    low, high = prediction_band(references, level)
    low, high = low - margin, high + margin
    above = value > high and name not in UTILITY
    state: State = "above" if above else "below" if value < low else "inside"
    return Judged(*own, low, high, margin, not low <= original <= high, state)


def margin_for(name: str, n: int, margin: float) -> float:
    """Return the margin of an audit over ``n`` images: of shares at least one and a half of them.

    Retrained models may all get the same few images right, so that their band has no width; one
    image more or less is then no sign of anything.
    """
    return max(margin, STEPS / n) if name in SHARES and n else margin


def far_below(audit: Judged) -> bool:
    """Say whether accuracy is more than twice the margin below the retrained models', and surely.

    Surely: its own interval lies below them, too.
    """
    if audit.reference is None:
        return False
    return audit.value < audit.reference - 2 * audit.margin and audit.value_high < audit.reference


def nearer_to_original(audit: Judged) -> bool:
    """Say whether a value is nearer to the original than to the mean of the retrained models.

    Nearer beyond its own interval: that must lie on the original's side of the middle.  And where
    the two lie within twice the margin of each other the question is empty: the seed decides it.
    """
    if audit.reference is None or not audit.informative:
        return False
    middle = (audit.original + audit.reference) / 2
    if audit.original > audit.reference:
        return audit.value_low > middle
    return audit.value_high < middle


def nearer_in_all(audits: Sequence[Judged]) -> bool:
    """Say whether a model is nearer to the original, over the audits that can tell the two apart.

    Each puts it somewhere between the retrained mean, 0, and the original, 1; the mean of these
    places counts.
    """
    places = [
        min(max((a.value - a.reference) / (a.original - a.reference), 0.0), 1.0)
        for a in audits
        if a.reference is not None and a.informative
    ]
    return bool(places) and math.fsum(places) / len(places) > 0.5

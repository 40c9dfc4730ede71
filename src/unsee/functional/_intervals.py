import math
from collections.abc import Callable

import torch
from scipy.stats import binomtest, norm
from torch import Tensor

from unsee.nouns import Measurement


def share(hits: Tensor) -> Measurement:
    """Measure how many of ``[N]`` booleans are true, with Wilson's 95 % interval.

    >>> share(torch.tensor([True, False]))
    Measurement(value=0.5, low=0.0945..., high=0.9054..., n=2)
    """
    n, k = len(hits), int(hits.sum())
    wilson = binomtest(k, n).proportion_ci(method="wilson")
    return Measurement(k / n, min(k / n, float(wilson.low)), max(k / n, float(wilson.high)), n)


def bootstrap(
    statistic: Callable[..., float],
    *samples: Tensor,
    rng: torch.Generator,
    draws: int = 200,
    paired: bool = False,
) -> Measurement:
    """Measure ``statistic(*samples)``, with the 95 % percentile interval of redrawn samples.

    Args:
        statistic: takes the samples, returns a number.
        samples: ``[N_i, ...]`` each, redrawn with replacement along the first dimension.
        rng: draws the rows.
        draws: how often.
        paired: whether row i of every sample is about the same image, so that they go together.

    Returns:
        The value, its interval (widened to hold the value), and the rows behind it: of all
        samples together, or of one where they are paired.

    """
    values = []
    for _ in range(draws):
        if paired:
            rows = torch.randint(len(samples[0]), (len(samples[0]),), generator=rng)
            values.append(statistic(*(sample[rows] for sample in samples)))
        else:
            drawn = (s[torch.randint(len(s), (len(s),), generator=rng)] for s in samples)
            values.append(statistic(*drawn))
    ends = torch.tensor(values, dtype=torch.float64).quantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64)
    )
    value, (low, high) = statistic(*samples), ends.tolist()
    n = len(samples[0]) if paired else sum(map(len, samples))
    return Measurement(value, min(value, low), max(value, high), n)


def paired_change(now: Tensor, before: Tensor, level: float = 0.95) -> Measurement:
    """Measure share(now) - share(before) of ``[N]`` booleans about the same images.

    The interval is Wald's after half a count is added to each cell of the 2 x 2 table (Agresti and
    Min 2005), so that it has a width where nothing changed too.  -1..1.
    """
    n = len(now)
    gained, lost = int((now & ~before).sum()), int((before & ~now).sum())
    value, total = (gained - lost) / n, n + 2
    centre = (gained - lost) / total
    variance = ((gained + lost + 1) / total - centre**2) / total
    reach = float(norm.ppf((1 + level) / 2)) * math.sqrt(variance)
    low, high = max(-1.0, centre - reach), min(1.0, centre + reach)
    return Measurement(value, min(value, low), max(value, high), n)

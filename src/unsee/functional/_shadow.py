"""Statistics per image over fleets of models: what one image does to models with and without it."""

import numpy as np
import torch
from scipy.stats import false_discovery_control, t as student
from torch import Tensor

from unsee.errors import FleetError
from unsee.functional._membership import margin

POOLED_BELOW = 16  # models a side; fewer do not tell the variance of one image from another's
HISTOGRAM_FROM = 50
BINS, CLIP, FLOOR = 20, 100.0, 1e-5
TINY = 1e-12  # a variance of models that are all the same


def logit_scaled_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p_y - log(1 - p_y) ``[N]``, about normal over models (Carlini et al. 2022).

    It is the margin, logit_y - logsumexp of the others, and is computed as that: no probability
    near 1 is rounded, and none has to be kept away from 0.
    """
    return margin(logits, labels)


def ulira_scores(target: Tensor, unlearned: Tensor, oracles: Tensor) -> Tensor:
    """Score images by U-LiRA (Hayes et al. 2024, arXiv 2403.01218), with Gaussians.

    N_u(x) / (N_u(x) + N_o(x)) at the target's own value x: near 1, the target looks like models
    that had the image and unlearned it; near 0, like models that never saw it.  Each image has its
    own two means.  Where a side has fewer than 16 models, each side has one variance, pooled over
    the images; else each image has its own.

    Args:
        target: ``[N]`` logit-scaled confidences of the model in question.
        unlearned: ``[M, N]`` of M >= 4 models that had the images and unlearned them.
        oracles: ``[K, N]`` of K >= 4 models that never saw them.

    Returns:
        ``[N]`` float64 in 0..1.

    Raises:
        FleetError: if a side has fewer than 4 models.

    """
    _need("U-LiRA", 4, {"unlearned": unlearned, "retrained": oracles})
    pooled = min(len(unlearned), len(oracles)) < POOLED_BELOW
    densities = []
    for models in (unlearned.double(), oracles.double()):
        variance = models.var(0)
        variance = (variance.mean() if pooled else variance).clamp_min(TINY)
        square = (target.double() - models.mean(0)).square()
        densities.append(-0.5 * (variance.log() + square / variance))
    return torch.sigmoid(densities[0] - densities[1])


def rmia_scores(
    target: Tensor,
    references: Tensor,
    population: Tensor,
    population_references: Tensor,
    *,
    a: float = 0.3,
    gamma: float = 1.0,
) -> Tensor:
    """Score images by offline RMIA (Zarifzadeh et al. 2024, arXiv 2312.03262).

    The share of population images z with ratio_x / ratio_z > ``gamma``, where a ratio is the
    target's p(true class) over p(x) = ((1 + a) / 2) mean_out(x) + (1 - a) / 2: what models that
    saw and did not see the image would give on average, guessed from those that did not.

    Args:
        target: ``[N]`` p(true class) by the model in question.
        references: ``[K, N]`` by K >= 1 models that never saw these images.
        population: ``[P]`` by the model in question, of images that no model was trained on.
        population_references: ``[K, P]`` by the K models.
        a: how far p(x) follows the references, 0..1.
        gamma: how much larger a ratio has to be.

    Returns:
        ``[N]`` float64 in 0..1, higher: more like a member.

    Raises:
        FleetError: if there is no reference model.

    """
    _need("RMIA", 1, {"retrained": references, "retrained (population)": population_references})
    ratios = [
        ours.double() / ((1 + a) / 2 * models.double().mean(0) + (1 - a) / 2)
        for ours, models in ((target, references), (population, population_references))
    ]
    beaten = torch.searchsorted((gamma * ratios[1]).sort().values, ratios[0])
    return beaten.double() / len(population)


def klom(unlearned: Tensor, oracles: Tensor) -> tuple[Tensor, str]:
    """Return KL(unlearned || retrained) of each image's margins over models (Georgiev et al. 2024).

    "histogram", the published form, from 50 models a side: 20 bins over the joint range, margins
    cut at +-100, the retrained models' shares not below 1e-5.  "gaussian" with fewer: the closed
    form for two normals.  The forms are not to be compared with each other, and few models raise
    both: hold the value against that of retrained models among themselves.

    Args:
        unlearned: ``[M, N]`` margins, M >= 4.
        oracles: ``[K, N]``, K >= 4.

    Returns:
        ``[N]`` float64 >= 0 in nats (the histogram's floor may bring one below 0 by 1e-4), and the
        name of the form.

    Raises:
        FleetError: if a side has fewer than 4 models.

    """
    _need("KLoM", 4, {"unlearned": unlearned, "retrained": oracles})
    ours, theirs = (x.double().clamp(-CLIP, CLIP) for x in (unlearned, oracles))
    if min(len(ours), len(theirs)) < HISTOGRAM_FROM:
        (mean, variance), (goal, spread) = (
            (x.mean(0), x.var(0).clamp_min(TINY)) for x in (ours, theirs)
        )
        part = (variance + (mean - goal).square()) / spread
        return ((spread / variance).log() + part - 1) / 2, "gaussian"
    low = torch.minimum(ours.amin(0), theirs.amin(0))
    width = (torch.maximum(ours.amax(0), theirs.amax(0)) - low).clamp_min(TINY) / BINS
    p, q = (_shares(((x - low) / width).long().clamp(max=BINS - 1)) for x in (ours, theirs))
    return (torch.special.xlogy(p, p) - p * q.clamp_min(FLOOR).log()).sum(0), "histogram"


def still_remembered(
    target: Tensor, oracles: Tensor, level: float = 0.05
) -> tuple[Tensor, Tensor, Tensor]:
    """Name the images that the target answers otherwise than models which never saw them.

    Each image is compared with where one more retrained model would lie: t = (x - mean) /
    (s sqrt(1 + 1/K)) with K - 1 degrees of freedom, two-sided.  Benjamini and Hochberg keep the
    expected share of false names among those named at ``level`` at most, for images that do not
    depend on each other negatively.  t > 0: surer than they; t < 0: less sure, which betrays an
    image too.  An image not named is not shown to be forgotten.

    Args:
        target: ``[N]`` logit-scaled confidences of the model in question.
        oracles: ``[K, N]`` of K >= 16 retrained models.
        level: of the false discovery rate.

    Returns:
        ``[N]`` t and p (float64, not adjusted), and whether each image is named (bool).

    Raises:
        FleetError: if there are fewer than 16 models.

    """
    _need("The list of images still remembered", 16, {"retrained": oracles})
    k, models = len(oracles), oracles.double()
    spread = models.var(0).clamp_min(TINY).sqrt() * (1 + 1 / k) ** 0.5
    t = (target.double() - models.mean(0)) / spread
    p = 2 * student.sf(np.abs(t.numpy()), k - 1)
    named = false_discovery_control(p) <= level if len(p) else p < 0
    return t, torch.from_numpy(p), torch.from_numpy(named)


def _need(statistic: str, least: int, sides: dict[str, Tensor]) -> None:
    for side, models in sides.items():
        if len(models) < least:
            raise FleetError(
                f"{statistic}: expected at least {least} {side} models, got {len(models)}: "
                "train more of them"
            )


def _shares(bins: Tensor) -> Tensor:
    """Return ``[BINS, N]`` from bin numbers ``[M, N]``."""
    counts = torch.zeros(BINS, bins.shape[1], dtype=torch.float64)
    return counts.scatter_add(0, bins, torch.ones_like(bins, dtype=torch.float64)) / len(bins)

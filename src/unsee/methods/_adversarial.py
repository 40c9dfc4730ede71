"""The way out of a class: which other class an image is nearest to, and along what it gets there.

Cross-entropy's gradient is (1 - p_y) times that of the log-odds against class y: the direction is
the same, but it vanishes where a model is sure, as most are of images that they were trained on.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.methods._barred import barred
from unsee.nouns import Data

ROUNDS = 10  # radii, each twice the last, before an image is given up


def others(logits: Tensor, labels: Tensor, gone: tuple[int, ...] = ()) -> Tensor:
    """Return logits ``[B, K]`` with what :func:`barred` names at -infinity."""
    own = one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(barred(own, gone), -torch.inf)


def fixed(model: nn.Module) -> nn.Module:
    """Return a copy that answers as ``model`` does now; its images are counted too."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def uphill(
    model: nn.Module, images: Tensor, labels: Tensor, gone: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Return logits ``[B, K]`` and the gradient ``[B, C, H, W]`` of the log-odds against a class.

    Args:
        model: as :func:`fixed` gives it.
        images: ``[B, C, H, W]``.
        labels: ``[B]`` the classes to leave.
        gone: classes to which no way leads.

    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        logits = model(images).float()
        odds = others(logits, labels, gone).logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]
        (slope,) = torch.autograd.grad(odds.sum(), images)
    return logits.detach(), slope


def within(images: Tensor) -> tuple[float, float]:
    """Return the range that pixels have: 0..1, or wider where an owner's floats are."""
    return min(0.0, float(images.min())), max(1.0, float(images.max()))


def nearest(
    model: nn.Module, images: Data, gone: tuple[int, ...], radius: float, steps: int
) -> tuple[Data, Tensor]:
    """Return adversarial examples, labelled as they are answered, and the radius of each ``[n]``.

    Projected gradient steps in L2, the radius doubled while the answer is the own class (algorithm
    1); images that keep it to the last radius are left out.

    Raises:
        ModelError: if none changes its answer.

    """
    model, n = fixed(model), len(images)
    x = as_floats(images.take(torch.arange(n)))
    moved, told, reach = x.clone(), torch.full_like(images.labels, -1), torch.zeros(n)
    for turn in range(ROUNDS * steps):
        size = radius * 2 ** (turn // steps)
        if not len(left := (told < 0).nonzero()[:, 0]):
            break
        for rows in left.split(256):
            logits, slope = uphill(model, moved[rows], images.labels[rows], gone)
            best = others(logits, images.labels[rows], gone).max(1)
            out = best.values > logits.gather(1, images.labels[rows, None])[:, 0]
            told[rows[out]] = best.indices[out]
            rows, slope = rows[~out], slope[~out]
            step = moved[rows] + 2 * size / steps * slope / _length(slope) - x[rows]
            step = step * (size / _length(step)).clamp(max=1)
            moved[rows], reach[rows.cpu()] = (x[rows] + step).clamp(*within(x)), size
    found = (told >= 0).cpu()
    if not found.any():
        raise ModelError(
            f"Expected answers that change within an L2 distance of {reach.max():g}, got none for "
            f"{n} images: a larger --set radius"
        )
    at = found.nonzero()[:, 0].numpy()
    kept = replace(images[at], images=moved[told >= 0], labels=told[told >= 0], rows=None)
    return replace(kept, augment=()), reach[found]


def _length(images: Tensor) -> Tensor:
    length: Tensor = images.flatten(1).norm(dim=1).clamp_min(1e-12)
    return length[:, None, None, None]

"""The way out of a class: which other class an image is nearest to, and along what it gets there.

Cross-entropy's gradient is (1 - p_y) times that of the log-odds against class y: the direction is
the same, but it vanishes where a model is sure, as most are of images that they were trained on.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


def others(logits: Tensor, labels: Tensor, gone: tuple[int, ...] = ()) -> Tensor:
    """Return logits ``[B, K]`` with the own class, and those that are ``gone``, at -infinity."""
    own = one_hot(labels, logits.shape[1]).bool()
    barred = own.clone()
    barred[:, list(gone)] = True
    barred = torch.where(barred.all(1, keepdim=True), own, barred)
    return logits.masked_fill(barred, -torch.inf)


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

"""Selective Noise Unlearning, the plain reconstruction.

    L = CE(f(x_f (+) noise), q)  +  clean * CE(f(x_f), q)  +  CE(f(x_r), y_r)

x_f: images to forget; q: what they are to be taken for; x_r, y_r: images from the retain buffer;
(+): one of the ways below in which noise enters.  Of the method by Shaheryar, Lee and Jung (ISVC
2024, https://doi.org/10.1007/978-3-031-77389-1_8) only the abstract is public: the formula is ours.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.data import batches, steps_per_epoch
from unsee.explanation import saliency
from unsee.methods._barred import barred
from unsee.methods._method import method
from unsee.models import pixel_unit
from unsee.nouns import Data
from unsee.training import Statistics, answers, descend, predict

Noise = Literal["gaussian", "uniform", "mix", "replace"]
Where = Literal["everywhere", "saliency"]
Target = Literal["own", "random", "uniform", "masked"]


def disturbed(
    x: Tensor, noise: Noise, sigma: float, unit: Tensor, where: Tensor, rng: torch.Generator
) -> Tensor:
    """Let noise into images ``[B, C, H, W]``.

    Args:
        x: the images.
        noise: gaussian and uniform are added with deviation ``sigma``; mix keeps a share of
            1 - ``sigma`` of the image; replace keeps nothing of it.
        sigma: in units of ``unit``; for mix the share of noise, at most 1.
        unit: ``[C, 1, 1]`` what counts as 1: the deviation of the model's own pixels.
        where: ``[B, 1, H, W]`` or a scalar that scales the disturbance, 1: all of it.
        rng: draws it.

    Returns:
        ``[B, C, H, W]``.

    """
    draw = torch.rand if noise == "uniform" else torch.randn
    xi = draw(x.shape, generator=rng).to(x)
    if noise == "uniform":
        xi = (xi - 0.5) * 12**0.5  # deviation 1
    xi = xi * unit.to(x)
    centre = x.mean((0, 2, 3), keepdim=True)
    match noise:
        case "gaussian" | "uniform":
            change = sigma * xi
        case "mix":
            change = min(sigma, 1.0) * (centre + xi - x)
        case "replace":
            change = centre + sigma * xi - x
    return x + where * change


def told(
    target: Target,
    labels: Tensor,
    logits: Tensor,
    rng: torch.Generator,
    gone: tuple[int, ...] = (),
) -> Tensor:
    """Return what forget images are to be taken for: ``[N, K]``, each row adds up to 1.

    Random, uniform and masked differ in one thing: which scores are left to the other classes.
    Classes that are ``gone`` are nobody's answer: two forgotten ones must not teach each other.
    Where that leaves no class but the own, as with a single one that stays, it is the answer.
    """
    own = one_hot(labels, logits.shape[1])
    match target:
        case "own":
            return own.float()
        case "random":  # so far apart that softmax picks one
            scores = torch.rand(logits.shape, generator=rng).argsort(1) * 1e3
        case "uniform":
            scores = torch.zeros_like(logits)
        case "masked":
            scores = logits
    return scores.masked_fill(barred(own.bool(), gone), -torch.inf).softmax(1)


@method(title="Selective noise", paper="after https://doi.org/10.1007/978-3-031-77389-1_8")
def snu(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 1,
    lr: float = 0.02,
    noise: Noise = "gaussian",
    sigma: float = 1.0,
    where: Where = "everywhere",
    target: Target = "random",
    clean: float = 0.0,
    kept: int = 3,
    statistics: Statistics = "separate",
) -> nn.Module:
    """Drown the images to forget in noise and call them something else, beside images to keep.

    An epoch is one pass over ``forget``.  ``sigma`` counts in the model's own pixel units, ``kept``
    in retain images per forget image; without any retain images their term is left out.
    """
    q = told(target, forget.labels.cpu(), predict(model, forget).logits, rng, gone)
    q, unit = q.to(forget.labels.device), pixel_unit(model)
    maps = saliency(model, forget) if where == "saliency" else None

    def losses() -> Iterator[Tensor]:
        keep = batches(retain, size=32 * kept, rng=rng) if len(retain) and kept else None
        order = replace(forget, labels=torch.arange(len(forget)), augment=())
        for x, rows in batches(order, size=32, epochs=epochs, rng=rng):
            strength = torch.ones(()) if maps is None else maps[rows].to(x)
            noisy = disturbed(x, noise, sigma, unit, strength, rng)
            loss = cross_entropy(answers(model, noisy, statistics), q[rows])
            if clean:
                loss = loss + clean * cross_entropy(answers(model, x, statistics), q[rows])
            if keep:
                x_r, y_r = next(keep)
                loss = loss + cross_entropy(answers(model, x_r), y_r)
            yield loss

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), 32))

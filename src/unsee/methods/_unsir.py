import copy
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.methods._method import method
from unsee.methods._passes import passes
from unsee.models import pixel_unit
from unsee.nouns import Data
from unsee.training import answers, descend, watched

LEAN = 0.1  # of the squared norm of a noise image in what is minimised, as published


def maximising(
    model: nn.Module, labels: Tensor, like: Tensor, *, steps: int, rng: torch.Generator
) -> Tensor:
    """Return images ``[N, C, H, W]`` on which the loss of ``model`` is high for these labels.

    They start from standard normal noise in the model's own pixel units and minimise, each,
    -CE + 0.1 ||noise||^2.

    Args:
        model: stays as it is.
        labels: ``[N]``.
        like: ``[1, C, H, W]``: gives shape and kind, and nothing else of itself.
        steps: of SGD with momentum.
        rng: draws the start.

    """
    fixed = copy.deepcopy(model).eval().requires_grad_(False)
    unit = pixel_unit(model).to(like)
    centre = dict(model.named_buffers()).get("unsee_mean", torch.zeros(())).to(like)
    start = torch.randn((len(labels), *like.shape[1:]), generator=rng).to(like)
    noise = nn.ParameterList([start])
    losses = (
        -cross_entropy(fixed(centre + unit * noise[0]), labels, reduction="sum")
        for _ in range(steps)
    )
    descend(noise, losses, lr=0.1, weight_decay=2 * LEAN)  # its gradient is that of 0.1 ||.||^2
    images: Tensor = centre + unit * noise[0].detach()
    return images


@method(title="UNSIR", paper="https://arxiv.org/abs/2111.08947", whole_classes=True)
def unsir(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 2,
    lr: float = 3e-2,
    noise: int = 64,
    noise_steps: int = 40,
    kept: int = 4,
    batch: int = 16,
) -> nn.Module:
    """Impair with noise that maximises the loss, labelled as the forgotten class; then repair.

    An epoch shows as many noisy images as there are to forget, ``kept`` times as many to keep
    beside them, and these once more for repair, at half the rate.  Of the images to forget it
    looks at the labels alone.  Without images to keep nothing is repaired.
    """
    classes = forget.labels.unique()
    own = classes[torch.arange(noise) % len(classes)]
    like = as_floats(forget.take(torch.arange(1)))
    images = maximising(model, own, like, steps=noise_steps, rng=rng)
    steps = passes(len(forget), batch, epochs) * steps_per_epoch(len(forget), batch)
    keep = batches(retain, size=kept * batch, rng=rng) if len(retain) and kept else None

    def impair() -> Iterator[Tensor]:
        for _ in range(steps):
            rows = torch.randint(len(own), (batch,), generator=rng)
            x, y = images[rows], own[rows]
            if keep:
                x, y = (torch.cat(pair) for pair in zip((x, y), next(keep), strict=True))
            yield cross_entropy(answers(model, x), y)

    with watched(None):  # it is to be damaged here, and is repaired below
        descend(model, impair(), lr=lr, steps=steps)
    if keep:
        repair = (cross_entropy(answers(model, x), y) for x, y in islice(keep, steps))
        descend(model, repair, lr=lr / 2, steps=steps)
    return model

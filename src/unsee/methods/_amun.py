from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.errors import ModelError, OptionError
from unsee.methods._adversarial import fixed, others, uphill, within
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend

ROUNDS = 10  # doublings of the distance before an image is given up


@method(title="Adversarial fine-tuning (AMUN)", paper="https://arxiv.org/abs/2503.00917")
def amun(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 5,
    lr: float = 3e-2,
    radius: float = 0.04,
    steps: int = 5,
    kept: int = 3,
    batch: int = 32,
) -> nn.Module:
    """Teach every image to forget beside its nearest adversarial example, by that one's answer.

    The search starts within ``radius`` (L2, pixels in 0..1), takes ``steps`` and doubles it until
    the answer changes.  ``kept``: retain images per adversarial one.  A forgotten class's images
    are not taught their own label, which images of classes that stay keep.
    """
    if not steps:
        raise OptionError(f"Expected amun's steps as int >= 1, got {steps}")
    near, _ = nearest(model, forget, gone, radius, steps)
    stays = forget[~np.isin(forget.labels.cpu().numpy(), gone)]

    def losses() -> Iterator[Tensor]:
        beside = [
            batches(data, size=size, rng=rng)
            for data, size in ((stays, batch), (retain, batch * kept))
            if len(data) and size
        ]
        for shown in batches(near, epochs=epochs, size=batch, rng=rng):
            x, y = zip(shown, *map(next, beside), strict=True)
            yield cross_entropy(answers(model, torch.cat(x)), torch.cat(y))

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(near), batch))


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

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._adversarial import nearest
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend


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

"""Our stronger recipe of the same family; what was tried and measured: docs/methods/snu_deep.md.

    L = weight * CE(f(x_f + noise), q)  +  CE(f(x_r), (1 - kd) y_r + kd p_r)

q: what the original model f_0 would answer if the forgotten classes were not there, sharpened;
p_r: the same for images to keep, as it is.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.data import batches, steps_per_epoch
from unsee.methods._method import method
from unsee.methods._snu import disturbed, told
from unsee.models import pixel_unit
from unsee.nouns import Data, Seen
from unsee.training import answers, descend, predict

STEPS, SMALLEST, LARGEST = 32, 12, 128  # an epoch of fewer steps does not get anywhere


@method(title="Selective noise, deep", paper="ours, on https://doi.org/10.1007/978-3-031-77389-1_8")
def snu_deep(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 1,
    lr: float = 0.0125,
    sigma: float = 0.25,
    temperature: float = 0.05,
    weight: float = 0.5,
    kd: float = 0.5,
    kept: int = 2,
    batch: int = 0,
) -> nn.Module:
    """Scatter the images to forget, noise on them, into the classes that stay, as retraining does.

    An epoch is one pass over ``forget``.  Every forget image gets noise of its own strength, up to
    ``sigma`` in the model's own pixel units; ``kept`` images from the buffer stand beside it in one
    batch, so that batch norm sees no batch of forgotten images alone.  ``temperature`` sharpens q:
    soft answers would leave the forgotten images between the classes, where they can be read off.
    ``batch`` 0: forget images for 32 steps an epoch, within 12 and 128.
    """
    seen = predict(model, forget)
    q = told("masked", seen.labels, seen.logits / temperature, rng, gone)
    forget = replace(forget, labels=q.to(forget.labels.device))
    alone = not (len(retain) and kept)
    if not alone:
        softened = _softened(predict(model, retain), gone, kd)
        retain = replace(retain, labels=softened.to(retain.labels.device, q.dtype))
    unit, batch = pixel_unit(model), batch or min(LARGEST, max(SMALLEST, len(forget) // STEPS))

    def losses() -> Iterator[Tensor]:
        keep = None if alone else batches(retain, size=batch * kept, rng=rng)
        for x, targets in batches(forget, size=batch, epochs=epochs, rng=rng):
            n = len(x)
            strength = torch.rand((n, 1, 1, 1), generator=rng).to(x)
            x = disturbed(x, "gaussian", sigma, unit, strength, rng)
            if keep:
                x, targets = (
                    torch.cat(pair) for pair in zip((x, targets), next(keep), strict=True)
                )
            logits = answers(model, x, "frozen" if alone else "shared")
            each = cross_entropy(logits, targets, reduction="none")
            yield weight * each[:n].mean() + (each[n:].mean() if keep else 0)

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), batch))


def _softened(seen: Seen, gone: tuple[int, ...], kd: float) -> Tensor:
    """Mix labels with what the original model answers, its forgotten classes left out."""
    logits = seen.logits.clone()
    logits[:, list(gone)] = -torch.inf
    return (1 - kd) * one_hot(seen.labels, logits.shape[1]) + kd * logits.softmax(1)

"""Our stronger recipe of the same family; what was tried and measured: docs/methods/snu_deep.md."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.methods._method import method
from unsee.methods._snu import disturbed, told
from unsee.models import pixel_unit
from unsee.nouns import Data
from unsee.training import Statistics, batch_norm, descend, predict


@method(title="Selective noise, deep", paper="ours, on https://doi.org/10.1007/978-3-031-77389-1_8")
def snu_deep(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 1,
    lr: float = 0.02,
    sigma: float = 0.25,
    noisy: float = 0.0,
    temperature: float = 0.05,
    kept: int = 3,
    batch: int = 32,
    statistics: Statistics = "shared",
) -> nn.Module:
    """Scatter the images to forget into the classes that stay.

    q is the original model's own second choice, sharpened by ``temperature``.
    """
    logits = predict(model, forget).logits / temperature
    q = told("masked", forget.labels.cpu(), logits, rng).to(forget.labels.device)
    unit = pixel_unit(model)

    def losses() -> Iterator[Tensor]:
        keep = batches(retain, size=batch * kept, rng=rng) if len(retain) and kept else None
        order = replace(forget, labels=torch.arange(len(forget)))
        for x, rows in batches(order, size=batch, epochs=epochs, rng=rng):
            loss = cross_entropy(model(x), q[rows])
            if noisy:
                with batch_norm(model, statistics):
                    drowned = disturbed(x, "gaussian", sigma, unit, torch.ones(()), rng)
                    loss = loss + noisy * cross_entropy(model(drowned), q[rows])
            if keep:
                x_r, y_r = next(keep)
                loss = loss + cross_entropy(model(x_r), y_r)
            yield loss

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), batch))

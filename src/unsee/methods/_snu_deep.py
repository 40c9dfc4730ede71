"""Our stronger recipe of the same family; what was tried and measured: docs/methods/snu_deep.md."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.data import batches, steps_per_epoch
from unsee.methods._method import method
from unsee.methods._snu import disturbed, told
from unsee.models import pixel_unit
from unsee.nouns import Data
from unsee.training import batch_norm, descend, predict


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
    temperature: float = 0.05,
    weight: float = 1.0,
    kd: float = 0.0,
    kept: int = 3,
    batch: int = 32,
) -> nn.Module:
    """Scatter the images to forget into the classes that stay.

    q is the original model's own second choice, sharpened by ``temperature``.
    """
    logits = predict(model, forget).logits / temperature
    q = told("masked", forget.labels.cpu(), logits, rng).to(forget.labels.device)
    unit = pixel_unit(model)
    alone = not (len(retain) and kept)  # then batch norm must not learn the forget set's statistics
    if kd and not alone:
        lg = predict(model, retain).logits
        lg[:, forget.labels.unique()] = -torch.inf
        soft = (1 - kd) * one_hot(retain.labels, q.shape[1]) + kd * lg.softmax(1)
        retain = replace(retain, labels=soft.float())
    elif not alone:
        retain = replace(retain, labels=one_hot(retain.labels, q.shape[1]).float())

    def losses() -> Iterator[Tensor]:
        keep = None if alone else batches(retain, size=batch * kept, rng=rng)
        order = replace(forget, labels=torch.arange(len(forget)))
        for x, rows in batches(order, size=batch, epochs=epochs, rng=rng):
            n = len(x)
            strength = sigma * torch.rand((n, 1, 1, 1), generator=rng).to(x)
            x = disturbed(x, "gaussian", 1.0, unit, strength, rng)
            targets = q[rows]
            if keep:
                x_r, y_r = next(keep)
                x, targets = torch.cat([x, x_r]), torch.cat([targets, y_r])
            with batch_norm(model, "frozen" if alone else "shared"):
                each = cross_entropy(model(x), targets, reduction="none")
            yield weight * each[:n].mean() + (each[n:].mean() if keep else 0)

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), batch))

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unsee.data import batches, steps_per_epoch
from unsee.methods._divergence import divergence
from unsee.methods._method import method
from unsee.methods._passes import passes
from unsee.models import Factory, reinitialised
from unsee.nouns import Data
from unsee.training import answers, descend, device_of


@method(title="Bad teacher", paper="https://arxiv.org/abs/2205.08096")
def bad_teacher(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    factory: Factory | None,
    epochs: int = 1,
    lr: float = 2e-2,
    temperature: float = 1.0,
    kept: int = 3,
    batch: int = 16,
) -> nn.Module:
    """Take the answers of an untrained network for images to forget, the original's for the rest.

    Without a factory the untrained network is the model itself, each module started anew.
    An epoch is one pass over the images to forget; ``kept`` from the buffer stand beside each.
    """
    device, turns = device_of(model), passes(len(forget), batch, epochs)
    good, bad = model, (factory() if factory else reinitialised(model)).to(device)
    good, bad = (copy.deepcopy(each).eval().requires_grad_(False) for each in (good, bad))

    def losses() -> Iterator[Tensor]:
        keep = batches(retain, size=kept * batch, rng=rng) if len(retain) and kept else None
        for x, _ in batches(forget, epochs=turns, size=batch, rng=rng):
            x_r = next(keep)[0] if keep else x[:0]
            with torch.no_grad():
                told = torch.cat([bad(x), good(x_r)]) if len(x_r) else bad(x)
            yield divergence(answers(model, torch.cat([x, x_r])), told, temperature)

    return descend(model, losses(), lr=lr, steps=turns * steps_per_epoch(len(forget), batch))

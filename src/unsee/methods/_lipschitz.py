from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from unsee.data import batches, steps_per_epoch
from unsee.errors import OptionError
from unsee.methods._method import method
from unsee.methods._snu import disturbed
from unsee.models import pixel_unit
from unsee.nouns import Data
from unsee.training import descend, switched_off


@method(title="Lipschitz (JiT)", paper="https://arxiv.org/abs/2402.01401", data="forget")
def lipschitz(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 1,
    lr: float = 3e-5,
    sigma: float = 0.5,
    draws: int = 25,
    batch: int = 64,
    max_steps: int = 10,
) -> nn.Module:
    """Make the model as deaf to noise on images to forget as it can be, and hear nothing else.

    Nothing holds on to what stays: more than ``max_steps`` steps share the rate of so many.
    ``sigma`` counts in the model's own pixel units.  The model answers as it does in use: by its
    running statistics and without dropout, which would differ between an image and its noisy self.
    """
    if not sigma:
        raise OptionError("Expected lipschitz's sigma as float > 0, got 0.0: it divides by it")
    if max_steps < 1:
        raise OptionError(f"Expected lipschitz's max_steps as 1 or more, got {max_steps}")
    unit, everywhere = pixel_unit(model), torch.ones(())

    def loss(x: Tensor) -> Tensor:
        z, total = model(x).float(), torch.zeros((), device=x.device)
        for _ in range(draws):
            noisy = disturbed(x, "gaussian", sigma, unit, everywhere, rng)
            with torch.no_grad():
                far = model(noisy).float()
            total = total + steepness(z, far, (noisy - x) / unit.to(x)).sum()
        return total / draws

    def losses() -> Iterator[Tensor]:
        themselves = replace(forget, augment=())
        for x, _ in batches(themselves, epochs=epochs, size=batch, rng=rng):
            exact = torch.autocast(x.device.type, enabled=False)  # small differences are not noise
            with switched_off(model.modules(), "training"), exact:
                found = loss(x)
            yield found

    steps = epochs * steps_per_epoch(len(forget), batch)
    rate = lr * min(1.0, max_steps / steps)
    return descend(model, losses(), lr=rate, steps=steps, weight_decay=0.0)


def steepness(z: Tensor, far: Tensor, change: Tensor) -> Tensor:
    """Return the change of logits ``[B, K]`` per unit of change of the images: ``[B]``, eq. 4."""
    found: Tensor = torch.linalg.vector_norm(z - far, dim=1) / change.flatten(1).norm(dim=1)
    return found

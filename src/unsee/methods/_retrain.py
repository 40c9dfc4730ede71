import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.events import warn
from unsee.methods._method import method
from unsee.models import Factory, frozen, reinitialised
from unsee.nouns import Data
from unsee.training import answers, descend, device_of


@method(title="Retrain", paper="the reference itself", data="all", exact=True)
def retrain(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    factory: Factory | None,
    epochs: int = 12,
    lr: float = 0.1,
    batch: int = 0,
) -> nn.Module:
    """Train a new model on the images to keep: the reference that all others are measured by.

    The original model comes from here as well, with nothing to forget, so both take the same time.
    ``batch`` 0: as many as leave about 20 steps an epoch, within 32 and 256.  Without a factory
    every module starts anew by its own ``reset_parameters``, but for frozen ones.
    """
    if factory is None and (still := [name for name, m in model.named_modules() if frozen(m)]):
        warn(
            f"frozen parts are kept, such as {still[:3]}: this is retraining only if they have "
            "never seen the images to forget; else give a factory, or model.requires_grad_(True)"
        )
    fresh = factory() if factory else reinitialised(model, keep_frozen=True)
    fresh = fresh.to(device_of(model))
    batch = batch or min(256, max(32, 1 << max(1, len(retain) // 20).bit_length() - 1))
    stream = batches(retain, epochs=epochs, size=batch, rng=rng)
    losses = (cross_entropy(answers(fresh, x), y) for x, y in stream)
    return descend(fresh, losses, lr=lr, steps=epochs * steps_per_epoch(len(retain), batch))

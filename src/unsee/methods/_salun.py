import torch
from torch import nn

from unsee.errors import OptionError
from unsee.methods._gradients import weights_of
from unsee.methods._method import method
from unsee.methods._mixed import mixed_steps
from unsee.methods._random_labels import relabelled
from unsee.methods._saliency import masked, salient
from unsee.nouns import Data
from unsee.training import descend


@method(title="SalUn", paper="https://arxiv.org/abs/2310.12508", data="all")
def salun(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 2,
    lr: float = 2e-2,
    share: float = 0.5,
    batch: int = 64,
) -> nn.Module:
    """Train with random labels, and only those weights by which the images to forget are known.

    ``share``, in 0..1: how many weights move, those with the largest gradients first.
    """
    if share > 1:
        raise OptionError(f"Expected salun's share in 0..1, got {share}")
    masks = salient(model, forget, share, rng=rng, size=batch)
    losses = relabelled(model, forget, retain, gone, rng=rng, epochs=epochs, batch=batch)
    steps = epochs * mixed_steps(forget, retain, batch)
    with masked(weights_of(model), masks):
        return descend(model, losses, lr=lr, steps=steps, weight_decay=0.0)

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from unsee.methods._method import method
from unsee.methods._mixed import mixed, mixed_steps
from unsee.methods._snu import told
from unsee.nouns import Data
from unsee.training import answers, descend


def relabelled(
    model: nn.Module,
    forget: Data,
    retain: Data,
    gone: tuple[int, ...],
    *,
    rng: torch.Generator,
    epochs: int,
    batch: int,
) -> Iterator[Tensor]:
    """Yield losses of batches in which the images to forget have wrong labels.

    These are drawn anew every time, among all classes but the own and those that are ``gone``.
    """
    for x, y, n in mixed(forget, retain, rng=rng, size=batch, epochs=epochs):
        logits = answers(model, x)
        wrong = told("random", y[:n].cpu(), torch.zeros((n, logits.shape[1])), rng, gone)
        right = one_hot(y[n:], logits.shape[1])
        yield cross_entropy(logits, torch.cat([wrong.to(logits.device), right]))


@method(title="Random labels", paper="https://arxiv.org/abs/2010.10981", data="all")
def random_labels(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 2,
    lr: float = 2e-2,
    batch: int = 64,
) -> nn.Module:
    """Call the images to forget anything but what they are, among the images to keep."""
    losses = relabelled(model, forget, retain, gone, rng=rng, epochs=epochs, batch=batch)
    return descend(model, losses, lr=lr, steps=epochs * mixed_steps(forget, retain, batch))

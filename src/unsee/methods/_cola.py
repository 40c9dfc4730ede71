from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.methods._features import features
from unsee.methods._method import method
from unsee.models import head
from unsee.nouns import Data
from unsee.training import answers, descend, watched


@method(
    title="Collapse and align (COLA)",
    paper="after https://arxiv.org/abs/2405.17878",
    data="all",
    whole_classes=True,
)
def cola(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 3,
    lr: float = 0.1,
    temperature: float = 0.1,
    batch: int = 64,
) -> nn.Module:
    """Let features of what stays collapse into their classes, then train on with cross-entropy.

    Both phases take ``epochs``; images to forget are not looked at, and lose what held them apart.
    """
    output = head(model, as_floats(forget.take(torch.arange(1))))

    def collapse() -> Iterator[Tensor]:
        for x, y in batches(retain, epochs=epochs, size=batch, rng=rng):
            z = features(model, output, x)
            with torch.autocast(x.device.type, enabled=False):  # errors go over the temperature
                loss = contrast(z, y, temperature)
            yield loss

    def align() -> Iterator[Tensor]:
        for x, y in batches(retain, epochs=epochs, size=batch, rng=rng):
            yield cross_entropy(answers(model, x), y)

    steps = epochs * steps_per_epoch(len(retain), batch)
    with watched(None):  # the output layer cannot follow yet, and is aligned below
        descend(model, collapse(), lr=lr, steps=steps)
    return descend(model, align(), lr=lr, steps=steps)


def contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of ``[B, D]`` features (Khosla et al., 2020, eq. 2).

    Images that are alone of their class in the batch have nothing to be drawn to, and do not count.
    """
    z = normalize(z, dim=1)
    alike = labels[:, None] == labels
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
    drawn = (alike & ~itself).to(z)
    n = drawn.sum(1)
    each = -(log_p.masked_fill(itself, 0.0) * drawn).sum(1) / n.clamp_min(1)
    return each.sum() / (n > 0).sum().clamp_min(1)

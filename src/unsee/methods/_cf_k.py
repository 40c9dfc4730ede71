from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.methods._late_stages import divided, draw_anew
from unsee.methods._method import method
from unsee.nouns import Data
from unsee.training import answers, descend, switched_off


@method(
    title="Forgetting in the last k stages", paper="https://arxiv.org/abs/2201.06640", data="all"
)
def cf_k(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    k: int = 2,
    epochs: int = 5,
    lr: float = 0.1,
    batch: int = 64,
    anew: bool = False,
) -> nn.Module:
    """Keep training the output layer and the last ``k`` stages; nothing before them changes.

    ``anew``: draw their weights again first (EU-k instead of CF-k).
    """
    early, late = divided(model, as_floats(forget.take(torch.arange(1))), k)
    draw_anew(late if anew else (), instead="anew=false")

    def losses() -> Iterator[Tensor]:
        for module in early:
            module.training = False  # it alone, and not what it holds
        for x, y in batches(retain, epochs=epochs, size=batch, rng=rng):
            yield cross_entropy(answers(model, x), y)

    steps = epochs * steps_per_epoch(len(retain), batch)
    with switched_off([w for module in early for w in module.parameters(False)], "requires_grad"):
        return descend(model, losses(), lr=lr, steps=steps)

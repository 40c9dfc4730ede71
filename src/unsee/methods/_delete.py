import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unsee.data import batches, steps_per_epoch
from unsee.methods._adversarial import fixed
from unsee.methods._method import method
from unsee.methods._snu import told
from unsee.nouns import Data
from unsee.training import Statistics, answers, descend


@method(title="DELETE", paper="https://arxiv.org/abs/2503.23751", data="forget")
def delete(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    gone: tuple[int, ...],
    epochs: int = 20,
    lr: float = 2e-3,
    batch: int = 64,
    statistics: Statistics = "shared",
) -> nn.Module:
    """Distil what the model itself says of images to forget once their own class is struck out.

    The teacher is the original on the same augmented images; ``statistics``: of batch norm, whose
    batches hold forgotten images alone.
    """
    teacher = fixed(model)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            q = told("masked", y, teacher(x).float(), rng, gone)
        return cross_entropy(answers(model, x, statistics), q)  # KL and a constant: q is fixed

    stream = batches(forget, epochs=epochs, size=batch, rng=rng)
    steps = epochs * steps_per_epoch(len(forget), batch)
    return descend(model, (loss(x, y) for x, y in stream), lr=lr, steps=steps, weight_decay=0.0)

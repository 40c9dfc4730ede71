from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unsee.data import as_floats, batches, steps_per_epoch
from unsee.errors import ModelError
from unsee.methods._adversarial import fixed
from unsee.methods._features import features
from unsee.methods._method import method
from unsee.models import head
from unsee.nouns import Data
from unsee.training import descend


@method(
    title="Projection (POUR)", paper="after https://arxiv.org/abs/2511.19339", whole_classes=True
)
def pour(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    distil: bool = True,
    epochs: int = 10,
    lr: float = 5e-2,
    kept: int = 3,
    batch: int = 32,
) -> nn.Module:
    """Project features off the forgotten class's direction, and teach the model to make them so.

    The direction is the class's row of the output layer.  The projection enters that layer in
    closed form (POUR-P); with ``distil`` the layers before it learn to give the projected features
    of the original (POUR-D), on images to forget and ``kept`` times as many to keep.
    """
    first = as_floats(forget.take(torch.arange(1)))
    teacher = fixed(model)
    output, theirs = head(model, first), head(teacher, first)
    if not output.weight.requires_grad:
        raise ModelError(
            "Expected an output layer that trains, got a frozen one: model.requires_grad_(True)"
        )
    off = projection(output.weight.detach()[forget.labels.unique()])
    with torch.no_grad():
        output.weight.copy_(output.weight @ off)

    def losses() -> Iterator[Tensor]:
        keep = batches(retain, size=batch * kept, rng=rng) if len(retain) and kept else None
        for x, _ in batches(forget, epochs=epochs, size=batch, rng=rng):
            x = torch.cat([x, next(keep)[0]]) if keep else x
            with torch.no_grad():
                z = features(teacher, theirs, x)
            with torch.autocast(x.device.type, enabled=False):  # rounded, some of it would stay
                wanted = z @ off
            yield (features(model, output, x) - wanted).square().mean() / z.square().mean()

    if not distil:
        return model
    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), batch))


def projection(rows: Tensor) -> Tensor:
    """Return I - V V^T ``[D, D]``, V an orthonormal basis of what ``[n, D]`` rows span."""
    _, sizes, basis = torch.linalg.svd(rows.double(), full_matrices=False)
    along = basis[sizes > 1e-6 * sizes.max()]
    off: Tensor = torch.eye(rows.shape[1]).to(along) - along.T @ along
    return off.to(rows)

"""Gradients by all weights that train, batch by batch: what saliency and importance are made of."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unsee.training import precision, switched_off

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits [B, K] and labels [B]


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that train, in the order of :func:`gradients`."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def gradients(
    model: nn.Module, stream: Iterator[tuple[Tensor, Tensor]], loss: Loss
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the gradients of ``loss`` over each batch, with ``model`` in eval mode.

    Args:
        model: nothing of it moves, and its ``grad`` stay as they are.
        stream: images ``[B, C, H, W]`` and labels ``[B]``.
        loss: of logits and labels.

    """
    for images, labels in stream:
        with switched_off(model.modules(), "training"), precision(model):
            value = loss(model(images), labels)
        yield torch.autograd.grad(
            value, weights_of(model), allow_unused=True, materialize_grads=True
        )

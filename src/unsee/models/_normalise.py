"""Normalisation as a part of the model, which then takes images in 0..1."""

import torch
from torch import Tensor, nn

from unsee.errors import ModelError


def normalise(model: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
    """Let ``model`` take images in 0..1, given the ``[C]`` mean and std that it was trained with.

    A hook and not a wrapper, which would put a prefix before every parameter's name; and buffers
    that move with the model but are not in its state dict.

    Raises:
        ModelError: if mean or std are not in 0..1 units, or std is not positive, or the model
            normalises already.

    """
    if hasattr(model, "unsee_mean"):
        raise ModelError("Expected a model without mean and std, got one that normalises already")
    if mean.max() > 1 or std.max() > 1:
        raise ModelError(
            f"Expected mean and std in 0..1 units, got {mean.tolist()} and {std.tolist()}: "
            "divide by 255"
        )
    if mean.shape != std.shape or not (mean.min() >= 0 and std.min() > 0):  # NaN is neither
        raise ModelError(
            f"Expected one mean >= 0 and one std > 0 per channel, got {mean.tolist()} and "
            f"{std.tolist()}"
        )
    for name, values in (("unsee_mean", mean), ("unsee_std", std)):
        model.register_buffer(name, values.view(-1, 1, 1), persistent=False)
    model.register_forward_pre_hook(_standardise)
    return model


def _standardise(model: nn.Module, args: tuple[Tensor]) -> Tensor:
    mean, std = model.get_buffer("unsee_mean"), model.get_buffer("unsee_std")  # a copy has its own
    return (args[0] - mean) / std


def pixel_unit(model: nn.Module) -> Tensor:
    """Return the std ``[C, 1, 1]`` that ``model`` divides by; 1 if it takes images as they come."""
    return dict(model.named_buffers()).get("unsee_std", torch.ones(1, 1, 1))

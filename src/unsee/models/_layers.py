"""Find the layers that methods and audits need, and modules that can start anew."""

import copy

import torch
from torch import Tensor, nn

from unsee.errors import ModelError

MARK = "unsee_output_layer"  # the name that --output-layer chose, kept on our copies of a model


def output_layer(model: nn.Module, images: Tensor, name: str | None = None) -> str:
    """Return the name of the layer that gives the logits: the last ``nn.Linear`` that runs.

    Args:
        model: stays as it is, modes included.
        images: ``[B, C, H, W]`` to run it on; one is enough.
        name: the answer, if the caller knows better; it is only checked.

    Raises:
        ModelError: if there is no such layer.

    """
    linear = {key: m for key, m in model.named_modules() if isinstance(m, nn.Linear)}
    name = name or getattr(model, MARK, None)
    if name is not None:
        if name not in linear:
            raise ModelError(f"Expected an output layer among {list(linear)}, got {name!r}")
        return name
    ran: list[str] = []
    modes = {module: module.training for module in model.modules()}
    hooks = [
        module.register_forward_pre_hook(lambda _, __, key=key: ran.append(key))  # type: ignore[misc]
        for key, module in linear.items()
    ]
    try:
        with torch.no_grad():
            model.eval()(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    if not ran:
        raise ModelError(
            "Expected a classifier that ends in nn.Linear, got none that runs; name another with --output-layer"
        )
    return ran[-1]


def head(model: nn.Module, images: Tensor) -> nn.Linear:
    """Return the output layer of ``model``, found as in :func:`output_layer`."""
    found = model.get_submodule(output_layer(model, images))
    if not isinstance(found, nn.Linear):
        raise ModelError(f"Expected an nn.Linear as output layer, got {type(found).__name__}")
    return found


def reinitialised(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` with new weights, each module by its own ``reset_parameters``.

    Raises:
        ModelError: naming the modules that hold weights and cannot start anew by themselves.

    """
    stuck = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if [*module.parameters(recurse=False)] and not hasattr(module, "reset_parameters")
    ]
    if stuck:
        raise ModelError(
            f"Expected a factory of untrained models or a checkpoint to restart from (--init), "
            f"got neither, and these modules cannot be re-initialised: {stuck[:5]}"
        )
    fresh = copy.deepcopy(model)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]
    return fresh

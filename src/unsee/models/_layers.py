"""Find the layers that methods and audits need, and modules that can start anew."""

import copy
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from unsee.errors import ModelError
from unsee.models._architectures import ORIGIN, blueprint

MARK = "unsee_output_layer"  # the name that --output-layer chose, kept on our copies of a model


def output_layer(model: nn.Module, images: Tensor, name: str | None = None) -> str:
    """Return the name of the layer that gives the logits: the last ``nn.Linear`` that runs.

    Args:
        model: stays as it is, modes and hooks included.
        images: ``[B, C, H, W]`` to run it on; one is enough.
        name: the answer, if the caller knows better; it is only checked.

    Raises:
        ModelError: if there is no such layer, or the model does not take the images.

    """
    named = name or getattr(model, MARK, None)
    if named is not None:
        linear = [key for key, module in _linear(model, aliases=True)]
        if named not in linear:
            raise ModelError(f"Expected an output layer among {linear}, got {named!r}")
        return str(named)
    ran: list[tuple[str, nn.Linear]] = []
    with _watched(model, ran):
        logits = _answer(model, images[:1])
    if not ran:
        raise ModelError(
            "Expected a classifier that ends in nn.Linear, got none that runs: name another with "
            "--output-layer"
        )
    last, layer = ran[-1]
    if not isinstance(logits, Tensor) or logits.shape != (1, layer.out_features):
        got = [*logits.shape] if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"Expected the logits [1, {layer.out_features}] of {last!r}, the last nn.Linear that "
            f"runs, as the model's answer, got {got}: name the output layer with --output-layer, "
            "or let the model return its logits alone"
        )
    return last


def head(model: nn.Module, images: Tensor) -> nn.Linear:
    """Return the output layer of ``model``, found as in :func:`output_layer`."""
    found = model.get_submodule(output_layer(model, images))
    if not isinstance(found, nn.Linear):
        raise ModelError(f"Expected an nn.Linear as output layer, got {type(found).__name__}")
    return found


def named_output(model: nn.Module) -> nn.Module | None:
    """Return the output layer that the caller has named; None: the last ``nn.Linear`` that runs."""
    named = getattr(model, MARK, None)
    return None if named is None else model.get_submodule(str(named))


def reinitialised(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` with new weights, each module by its own ``reset_parameters``.

    A model of :func:`unsee.models.blueprint` of which modules have none, such as the class token of
    a transformer or the scales of a ConvNeXt, gets the weights of another that is built alike.

    Raises:
        ModelError: naming the modules that hold weights, or statistics of the images, and cannot
            start anew by themselves.

    """
    saved = model.state_dict().keys()  # buffers outside of it are constants, as a mean is
    stuck = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if not hasattr(module, "reset_parameters") and _holds(module, name, saved)
    ]
    fresh = copy.deepcopy(model)
    if stuck and (origin := getattr(model, ORIGIN, None)) is not None:
        own, new = fresh.state_dict(), blueprint(**origin)().state_dict()
        if {name: x.shape for name, x in own.items()} == {name: x.shape for name, x in new.items()}:
            fresh.load_state_dict(new)
            return fresh
    if stuck:
        raise ModelError(
            f"Expected a factory of untrained models or a checkpoint to restart from (--init), "
            f"got neither, and these modules cannot be re-initialised: {stuck[:5]}"
        )
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]
    return fresh


def _linear(model: nn.Module, *, aliases: bool = False) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules(remove_duplicate=not aliases):
        if isinstance(module, nn.Linear):
            yield name, module


@contextmanager
def _watched(model: nn.Module, ran: list[tuple[str, nn.Linear]]) -> Iterator[None]:
    """Put the linear layers that run inside into ``ran``; modes and hooks are put back."""
    modes = {module: module.training for module in model.modules()}
    hooks = [
        layer.register_forward_pre_hook(partial(_note, ran, name)) for name, layer in _linear(model)
    ]
    try:
        model.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode


def _note(ran: list[tuple[str, nn.Linear]], name: str, layer: nn.Linear, _: object) -> None:
    ran.append((name, layer))


def _answer(model: nn.Module, images: Tensor) -> object:
    try:
        with torch.no_grad():
            answer: object = model(images)
        return answer
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"Expected a model that takes images {[*images.shape]}, got {first!r}: another --size "
            "or --arch?"
        ) from error


def _holds(module: nn.Module, name: str, saved: Container[str]) -> bool:
    """Say whether the module itself has parameters, or buffers that a checkpoint keeps."""
    if next(module.parameters(recurse=False), None) is not None:
        return True
    before = f"{name}." if name else ""
    return any(before + key in saved for key, _ in module.named_buffers(recurse=False))

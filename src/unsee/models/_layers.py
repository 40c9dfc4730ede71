"""Find the layers that methods and audits need, and modules that can start anew."""

import copy
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from unsee.errors import ModelError
from unsee.models._architectures import ORIGIN, blueprint

FROZEN = "all of them frozen: model.requires_grad_(True)"
MARK = "unsee_output_layer"  # the name that --output-layer chose, kept on our copies of a model


@dataclass(frozen=True)
class Ran:
    """A linear layer that has run, and what it gave."""

    name: str
    layer: nn.Linear
    logits: Tensor


def answers_for(model: nn.Module, images: Tensor, classes: Sequence[str]) -> None:
    """Refuse a model that cannot have learned these images.

    Args:
        model: stays as it is.
        images: ``[B, C, H, W]``, as it takes them; one is enough.
        classes: names; one output is for each.

    Raises:
        ModelError: if weights or images are of another type than float32, the model does not take
            the images, or its answer is not one number for each class.

    """
    held = {"weights": {x.dtype for x in model.parameters() if x.is_floating_point()}}
    for what, kinds in (held | {"images": {images.dtype}}).items():
        if other := sorted(str(kind) for kind in kinds - {torch.float32}):
            raise ModelError(f"Expected {what} of torch.float32, got {other[0]}: call .float()")
    with _watched(model, []):
        answer = _answer(model, images[:1])
    got = [*answer.shape] if isinstance(answer, Tensor) else type(answer).__name__
    if got != [1, len(classes)]:
        raise ModelError(
            f"Expected the answer [1, {len(classes)}] of the model to one image, a logit for each "
            f"class, got {got}: give the classes in the order of its outputs (--classes, in Python "
            "classes=), or let the model return its logits alone"
        )


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
    linear = dict(_linear(model, aliases=True))
    if named is not None and named not in linear:
        raise ModelError(f"Expected an output layer among {[*linear]}, got {named!r}")
    ran: list[Ran] = []
    with _watched(model, ran):
        answer = _answer(model, images[:1])
    if named is not None:  # by one of the names that it may have
        ran = [replace(each, name=str(named)) for each in ran if each.layer is linear[named]]
        if not ran:  # its weights may be used without it
            return str(named)
    if not ran:
        raise ModelError(
            "Expected a classifier that ends in nn.Linear, got none that runs: name another with "
            "--output-layer (in Python: model.unsee_output_layer = NAME)"
        )
    _same(answer, ran[-1], named=named is not None)
    return ran[-1].name


def _same(answer: object, last: Ran, *, named: bool) -> None:
    """Refuse an answer that cannot be the logits of the output layer."""
    outputs = last.layer.out_features
    if not isinstance(answer, Tensor):
        raise ModelError(
            f"Expected the logits [1, {outputs}] of {last.name!r} as the model's answer, got "
            f"{type(answer).__name__}: let the model return its logits alone"
        )
    if answer.shape != (1, outputs):
        which = "the layer that was named" if named else "the last nn.Linear that runs"
        raise ModelError(
            f"Expected the logits [1, {outputs}] of {last.name!r}, {which}, as the model's answer, "
            f"got {[*answer.shape]}: name the output layer with --output-layer (in Python: "
            "model.unsee_output_layer = NAME)"
        )
    if last.logits.shape != answer.shape:
        raise ModelError(
            f"Expected one answer of {last.name!r} to an image, got {[*last.logits.shape]}, of "
            "which the model makes one afterwards: let it average its features before that layer"
        )
    for name, squashed in (
        ("softmax", last.logits.softmax(-1)),
        ("sigmoid", last.logits.sigmoid()),
    ):
        if torch.allclose(answer, squashed) and not torch.allclose(answer, last.logits):
            raise ModelError(
                f"Expected the logits of {last.name!r} as the model's answer, got their {name}: "
                "every loss and audit would squash them once more; let the model return its logits"
            )


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


def trained_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that train, each once.  Raises ModelError if there is none."""
    found = [weight for weight in model.parameters() if weight.requires_grad]
    if not found:
        raise ModelError(f"Expected a model with weights that train, got {FROZEN}")
    return found


def reinitialised(model: nn.Module, *, keep_frozen: bool = False) -> nn.Module:
    """Return a copy of ``model`` with new weights, each module by its own ``reset_parameters``.

    A model of :func:`unsee.models.blueprint` of which modules have none, such as the class token of
    a transformer or the scales of a ConvNeXt, gets the weights of another that is built alike.

    Args:
        model: stays as it is.
        keep_frozen: leave modules as they are of which no weight trains: what is to be trained
            afterwards cannot train noise there.

    Raises:
        ModelError: naming the modules that hold weights, or statistics of the images, and cannot
            start anew by themselves.

    """
    saved = model.state_dict().keys()  # buffers outside of it are constants, as a mean is
    fresh, kept, anew = copy.deepcopy(model), set[str](), dict[nn.Module, str]()
    for name, module in fresh.named_modules(remove_duplicate=False):
        if keep_frozen and frozen(module):
            own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            kept |= {f"{name}.{key}".lstrip(".") for key, _ in own}
        elif hasattr(module, "reset_parameters") or _holds(module, name, saved):
            anew[module] = name
    stuck = [
        name or type(module).__name__
        for module, name in anew.items()
        if not hasattr(module, "reset_parameters")
    ]
    if stuck and (origin := getattr(model, ORIGIN, None)) is not None:
        old, new = fresh.state_dict(), blueprint(**origin)().state_dict()
        if {name: x.shape for name, x in old.items()} == {name: x.shape for name, x in new.items()}:
            fresh.load_state_dict({name: (old if name in kept else new)[name] for name in new})
            return fresh
    if stuck:
        raise ModelError(
            f"Expected a factory of untrained models or a checkpoint to restart from (--init), "
            f"got neither, and these modules cannot be re-initialised: {stuck[:5]}"
        )
    for module in anew:
        module.reset_parameters()  # type: ignore[operator]
    return fresh


def frozen(module: nn.Module) -> bool:
    """Tell whether a module has weights of its own, and none of them trains."""
    own = [*module.parameters(recurse=False)]
    return bool(own) and not any(weight.requires_grad for weight in own)


def _linear(model: nn.Module, *, aliases: bool = False) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules(remove_duplicate=not aliases):
        if isinstance(module, nn.Linear):
            yield name, module


@contextmanager
def _watched(model: nn.Module, ran: list[Ran]) -> Iterator[None]:
    """Put the linear layers that run inside into ``ran``; modes and hooks are put back."""
    modes = {module: module.training for module in model.modules()}
    hooks = [
        layer.register_forward_hook(partial(_note, ran, name)) for name, layer in _linear(model)
    ]
    try:
        model.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode


def _note(ran: list[Ran], name: str, layer: nn.Linear, _: object, logits: Tensor) -> None:
    ran.append(Ran(name, layer, logits.detach().clone()))  # what follows may work in place


def _answer(model: nn.Module, images: Tensor) -> object:
    before = images.clone()
    try:
        with torch.no_grad():
            answer: object = model(images)
        if not torch.equal(images.nan_to_num(), before.nan_to_num()):
            raise ModelError(
                "Expected a model that leaves its images as they are, got one that changes them: a "
                "forward that works in place (x.sub_, x /= ...) has to begin with x = x.clone()"
            )
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

"""Build untrained classifiers by name."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from importlib import import_module
from typing import Any

from torch import nn

from unsee.errors import ModelError
from unsee.models._words import told

Factory = Callable[[], nn.Module]
ORIGIN = "unsee_blueprint"  # what a model was built by, kept on it and on its copies
STEMS = ("cifar-pool", "cifar", "imagenet")
FORMS = (
    "convnet; resnet18:STEM with a STEM among cifar-pool, cifar, imagenet; a torchvision name; "
    "timm:NAME; package.module:factory"
)


def blueprint(arch: str, *, channels: int, classes: int) -> Factory:
    """Return a factory of newly initialised models.

    Args:
        arch: ``convnet``, three convolutions that learn digits in seconds;
            ``resnet18:cifar-pool`` (3 x 3 stride 1, pool kept), ``resnet18:cifar`` (no pool),
            ``resnet18:imagenet``; the name of a torchvision classifier; ``timm:NAME``; or
            ``package.module:factory``, which is called with those of ``channels``, ``classes`` and
            ``num_classes`` that it declares.  Modules of the current directory are found too, after
            all installed ones.
        channels: of the images; the first convolution takes them.
        classes: outputs.

    Raises:
        ModelError: if there is no such architecture.  What the code of a factory of one's own
            raises is raised as it is.

    """
    build = _found(arch, channels, classes)
    return partial(_remembering, build, {"arch": arch, "channels": channels, "classes": classes})


def _remembering(build: Factory, origin: dict[str, Any]) -> nn.Module:
    """Let a model know what it was built by, so that another can be built."""
    model = build()
    setattr(model, ORIGIN, origin)
    return model


def _found(arch: str, channels: int, classes: int) -> Factory:
    family, colon, detail = arch.partition(":")
    if family == "resnet18" and colon:
        if detail not in STEMS:
            raise ModelError(f"Expected a stem of resnet18 among {[*STEMS]}, got {told(detail)}")
        return lambda: _resnet18(detail, channels, classes)
    if arch == "convnet":
        return lambda: _convnet(channels, classes)
    if family == "timm" and colon:
        return _timm(detail, channels, classes)
    if colon:
        return _own(family, detail, {"channels": channels, "classes": classes})
    return _torchvision(family, channels, classes)


def without_code(arch: str) -> str:
    """Return ``arch`` as a checkpoint names it, if building it runs no code of somebody's own.

    Raises:
        ModelError: for ``package.module:factory``: a file must not choose what is imported.

    """
    family, colon, _ = arch.partition(":")
    if colon and family not in ("resnet18", "timm"):
        raise ModelError(
            f"Expected --arch, since the checkpoint asks for code of your own, got none: give "
            f"--arch {told(arch)} if you trust it"
        )
    return arch


def _resnet18(stem: str, channels: int, classes: int) -> nn.Module:
    from torchvision.models import resnet18

    model: nn.Module = resnet18(num_classes=classes)
    size, stride = (7, 2) if stem == "imagenet" else (3, 1)
    if stem != "imagenet" or channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, size, stride, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if stem == "cifar":
        model.maxpool = nn.Identity()
    return model


def _convnet(channels: int, classes: int) -> nn.Module:
    """Three 3 x 3 convolutions with batch norm, 16, 32 and 64 wide, and a linear layer."""

    def block(given: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(given, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    pooled = (*block(channels, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2))
    ending = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
    return nn.Sequential(*pooled, *block(32, 64), *ending)


def _torchvision(name: str, channels: int, classes: int) -> Factory:
    from torchvision import models

    if name not in models.list_models(module=models):
        if name in models.list_models():
            raise ModelError(
                f"Expected a classifier of images, got {name!r}, which is for another task"
            )
        raise ModelError(f"Expected an architecture ({FORMS}), got {told(name)}")
    # Auxiliary outputs would make the model answer with a tuple while it trains.
    quiet = {"aux_logits": False, "init_weights": True}
    extra = quiet if name in ("googlenet", "inception_v3") else {}
    return lambda: _taking(
        models.get_model(name, weights=None, num_classes=classes, **extra), channels
    )


def _taking(model: nn.Module, channels: int) -> nn.Module:
    """Give the first convolution the data's channels."""
    convolutions = (item for item in model.named_modules() if isinstance(item[1], nn.Conv2d))
    name, old = next(convolutions)
    if old.in_channels != channels:
        kept = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        facts: dict[str, Any] = {key: getattr(old, key) for key in kept}
        new = nn.Conv2d(channels, old.out_channels, **facts, bias=old.bias is not None)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
    return model


def _timm(name: str, channels: int, classes: int) -> Factory:
    try:
        from timm import create_model, is_model
    except ImportError as error:
        raise ModelError(
            f"Expected timm for 'timm:{told(name)[1:-1]}', got {error}: pip install 'unsee[timm]'"
        ) from error
    if not is_model(name):
        raise ModelError(f"Expected a model of timm (timm.list_models()), got {told(name)}")

    def build() -> nn.Module:
        try:
            return create_model(name, pretrained=False, num_classes=classes, in_chans=channels)
        except RuntimeError as error:  # of a tag that it does not know
            raise ModelError(f"Expected a model of timm, got {told(name)}: {error}") from error

    return build


def _own(module: str, name: str, facts: dict[str, int]) -> Factory:
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise ModelError(f"Expected an architecture ({FORMS}), got {told(f'{module}:{name}')}")
    with _current_directory():
        try:
            factory = reduce(getattr, name.split("."), import_module(module))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, and misses one that it imports
            raise ModelError(
                f"Expected an architecture ({FORMS}), got '{module}:{name}': {error}; it is looked "
                "for among installed packages and in the current directory"
            ) from error
        except AttributeError as error:
            if error.obj is None or error.name not in name.split("."):
                raise
            raise ModelError(f"Expected {name!r} in {module}, got none: {error}") from error
    if not callable(factory) or isinstance(factory, nn.Module):
        made = f"a {type(factory).__name__} that is made already"
        got = made if isinstance(factory, nn.Module) else repr(factory)
        raise ModelError(f"Expected a function or class {module}:{name}, got {got}")
    chosen = _declared(factory, {**facts, "num_classes": facts["classes"]}, f"{module}:{name}")

    def build() -> nn.Module:
        with _current_directory():  # it may import more when it is called
            model = factory(**chosen)
        if not isinstance(model, nn.Module):
            raise ModelError(f"Expected an nn.Module from {module}:{name}, got {type(model)}")
        return model

    return build


def _declared(factory: Callable[..., Any], given: dict[str, int], name: str) -> dict[str, int]:
    """Return what the factory takes of ``given``.  Raises ModelError if it needs more."""
    try:
        signature = inspect.signature(factory)
    except ValueError:
        return {}  # written in C
    chosen = {key: value for key, value in given.items() if key in signature.parameters}
    try:
        signature.bind(**chosen)
    except TypeError as error:
        raise ModelError(
            f"Expected {name} to need none but {[*given]}, got {signature}: {error}"
        ) from error
    return chosen


@contextmanager
def _current_directory() -> Iterator[None]:
    """Let imports inside find the current directory, after everything that is installed."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:  # ours is the last of its kind
            del sys.path[-1 - sys.path[::-1].index(here)]

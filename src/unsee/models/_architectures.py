"""Build untrained classifiers by name."""

import inspect
from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn

from unsee.errors import ModelError

Factory = Callable[[], nn.Module]
STEMS = ("cifar-pool", "cifar", "imagenet")
FORMS = "resnet18:STEM with a STEM among cifar-pool, cifar, imagenet; a torchvision name; timm:NAME; package.module:factory"


def blueprint(arch: str, *, channels: int, classes: int) -> Factory:
    """Return a factory of newly initialised models.

    Args:
        arch: ``resnet18:cifar-pool`` (3 x 3 stride 1, pool kept), ``resnet18:cifar`` (no pool),
            ``resnet18:imagenet``; the name of a torchvision classifier; ``timm:NAME``; or
            ``package.module:factory``, which is called with those of ``channels`` and ``classes``
            that it declares.
        channels: of the images; the first convolution takes them.
        classes: outputs.

    Raises:
        ModelError: if there is no such architecture.

    """
    family, _, detail = arch.partition(":")
    if family == "resnet18" and detail in STEMS:
        return lambda: _resnet18(detail, channels, classes)
    if family == "timm" and detail:
        return _timm(detail, channels, classes)
    if detail:
        return _own(family, detail, channels, classes)
    return _torchvision(family, channels, classes)


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


def _torchvision(name: str, channels: int, classes: int) -> Factory:
    from torchvision.models import get_model, list_models

    if name not in list_models() or "/" in name:
        raise ModelError(f"Expected an architecture ({FORMS}), got {name!r}")

    def build() -> nn.Module:
        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return _taking(get_model(name, weights=None, num_classes=classes, **extra), channels)

    return build


def _taking(model: nn.Module, channels: int) -> nn.Module:
    """Give the first convolution the data's channels."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != channels:
                facts = {
                    key: getattr(module, key)
                    for key in ("kernel_size", "stride", "padding", "dilation")
                }
                new = nn.Conv2d(
                    channels, module.out_channels, **facts, bias=module.bias is not None
                )
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, new)
            break
    return model


def _timm(name: str, channels: int, classes: int) -> Factory:
    try:
        from timm import create_model, is_model
    except ImportError as error:
        raise ModelError(
            "Expected timm for a timm: architecture: pip install 'unsee[timm]'"
        ) from error
    if not is_model(name):
        raise ModelError(f"Expected a model of timm (timm.list_models()), got {name!r}")
    return lambda: create_model(name, pretrained=False, num_classes=classes, in_chans=channels)


def _own(module: str, name: str, channels: int, classes: int) -> Factory:
    try:
        factory = getattr(import_module(module), name)
        declared = inspect.signature(factory).parameters.keys()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"Expected an architecture ({FORMS}), got '{module}:{name}': {error}"
        ) from error
    given = {"channels": channels, "classes": classes}
    chosen = {key: value for key, value in given.items() if key in declared}

    def build() -> nn.Module:
        model = factory(**chosen)
        if not isinstance(model, nn.Module):
            raise ModelError(f"Expected an nn.Module from {module}:{name}, got {type(model)}")
        return model

    return build


def drawn(factory: Factory, rng: torch.Generator) -> nn.Module:
    """Return ``factory()`` with weights drawn from ``rng``; the caller's random state stays."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        return factory()

"""What those who published weights of an architecture say of the images that these take.

It comes with the installed packages: nothing is ever fetched.
"""

from dataclasses import dataclass
from typing import Any

CENTRED = ("googlenet", "inception_v3")  # with weights torchvision lets them change units again
OF_ONE_SIZE = ("vit_", "maxvit_")  # torchvision's networks that take no other size


@dataclass(frozen=True)
class Published:
    """Facts of published weights, which a checkpoint made of them does not hold itself."""

    mean: tuple[float, ...]  # per channel, in 0..1
    std: tuple[float, ...]
    size: int  # pixels of the square
    only_size: bool  # whether the network takes no other
    classes: tuple[str, ...]  # names in the order of the outputs; empty: not known


def published(arch: str) -> Published | None:
    """Return what is known of weights of ``arch``: of torchvision's default ones, or of timm's.

    None of an architecture that nobody has published weights of, or that there is not.

    >>> found = published("resnet50")
    >>> found.mean, found.size, found.only_size, found.classes[:2]
    ((0.485, 0.456, 0.406), 224, False, ('tench', 'goldfish'))
    """
    family, colon, name = arch.partition(":")
    if family == "timm" and colon:
        return _of_timm(name)
    return None if colon else _of_torchvision(arch)


def _of_torchvision(name: str) -> Published | None:
    from torchvision import models

    if name not in models.list_models(module=models):
        return None
    weights = models.get_model_weights(name).DEFAULT
    taken = weights.transforms()
    only, mean, std = name.startswith(OF_ONE_SIZE), (*taken.mean,), (*taken.std,)
    if name in CENTRED:
        mean = std = (0.5,) * 3
    return Published(mean, std, taken.crop_size[0], only, _names(weights))


def _of_timm(name: str) -> Published | None:
    try:
        from timm import get_pretrained_cfg, is_model
    except ImportError:
        return None  # whoever builds it says that the extra lacks
    if not is_model(name) or (facts := get_pretrained_cfg(name)) is None:
        return None
    from torchvision.models import ResNet50_Weights

    _, height, width = facts.input_size
    imagenet = _names(ResNet50_Weights.DEFAULT)  # timm numbers the 1,000 alike, and names few
    return Published(
        (*facts.mean,),
        (*facts.std,),
        height,
        bool(facts.fixed_input_size) and height == width,
        imagenet if facts.num_classes == len(imagenet) else (),
    )


def _names(weights: Any) -> tuple[str, ...]:
    return (*weights.meta["categories"],)

"""What a model takes and says: the size of its images, their mean and deviation, its classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unsee.data import as_floats
from unsee.errors import ModelError, OptionError
from unsee.events import warn
from unsee.models import Checkpoint, Published
from unsee.nouns import Config, Data


def units(
    config: Config, facts: dict[str, Any], data: Data
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std per channel: as told, else of the checkpoint, else of the images."""
    if (config.mean is None) is not (config.std is None):
        raise OptionError("Expected --mean and --std together, got one of them")
    mean, std = (getattr(config, key) or facts.get(key) for key in ("mean", "std"))
    if mean is None and std is None:
        if data.images.dtype != torch.uint8:  # floats are as their owner has prepared them
            return None, None
        if config.model is None and config.init is None:
            return moments(data)
        warn(
            "the checkpoint says nothing of mean and std, and no --mean and --std were given: "
            "its images are passed in 0..1"
        )
        return None, None
    if mean is None or std is None:
        raise ModelError("Expected mean and std together in the checkpoint, got one of them")
    channels = data.images.shape[1]
    if not len(mean) == len(std) == channels:
        raise OptionError(
            f"Expected one --mean and --std per channel ({channels}), got {mean} and {std}"
        )
    return tuple(mean), tuple(std)


def size_of(config: Config, known: Published | None) -> int | None:
    """Return the size to bring images to: as told, else the only one that the network takes."""
    if config.size is not None or known is None or not known.only_size:
        return config.size
    warn(f"images are brought to {known.size} x {known.size}, the only size that this --arch takes")
    return known.size


def as_published(
    config: Config, facts: dict[str, Any], known: Published | None, data: Data
) -> dict[str, Any]:
    """Add the mean and std of published weights to what a checkpoint says, where it says neither.

    Args:
        config: what it tells goes before.
        facts: of the checkpoint.
        known: of its architecture.
        data: its images are to be bytes, and of as many channels.

    """
    told = any(getattr(config, key) or facts.get(key) for key in ("mean", "std"))
    if known is None or told or data.images.dtype != torch.uint8:
        return facts
    if len(known.mean) != data.images.shape[1]:
        return facts
    mean, std = [*known.mean], [*known.std]
    warn(
        f"the checkpoint says nothing of mean and std: taken are {mean} and {std}, of the published"
        " weights of this architecture; give --mean and --std if it was trained on others"
    )
    return facts | {"mean": mean, "std": std}


def same_units(
    other: Checkpoint | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> None:
    """Refuse a model that was trained on other numbers: it would be shown the wrong ones."""
    for name, ours in (("mean", mean), ("std", std)):
        theirs = None if other is None else other.facts.get(name)
        if theirs is not None and not np.allclose(theirs, ours or np.nan, rtol=0, atol=0.01):
            raise ModelError(
                f"Expected a model with the {name} of the original, {ours}, got {theirs}: "
                "give --mean and --std, or another --oracle, --retrained or --unlearned"
            )


def moments(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel over the training images, to four places."""
    train = data.part("train")
    total, squares = torch.zeros(2, data.images.shape[1], dtype=torch.float64)
    n = 0
    for rows in torch.arange(len(train)).split(2048):
        pixels = as_floats(train.take(rows)).double()
        total = total + pixels.sum((0, 2, 3))
        squares = squares + pixels.square().sum((0, 2, 3))
        n += pixels[:, 0].numel()
    mean = total / n
    std = (squares / n - mean.square()).clamp_min(1e-8).sqrt()
    places = [[round(x, 4) for x in values.tolist()] for values in (mean, std)]
    return tuple(places[0]), tuple(max(x, 1e-4) for x in places[1])


def named_by(data: Data, facts: dict[str, Any]) -> Data:
    """Give numbered classes the names that the checkpoint knows.

    Raises:
        ModelError: if the checkpoint has another number of classes, or another order of the same.

    """
    named = tuple(facts.get("classes") or data.classes)
    numbered = data.classes == tuple(map(str, range(len(data.classes))))
    reordered = named != data.classes and {*named} == {*data.classes}
    if len(named) == len(data.classes) and numbered and not reordered:
        return replace(data, classes=named)
    if reordered or len(named) != len(data.classes):
        raise ModelError(
            f"Expected the checkpoint's classes {[*named][:12]} in the order of the data, got "
            f"{[*data.classes][:12]}: give the names in the order of the labels with --classes"
        )
    return data

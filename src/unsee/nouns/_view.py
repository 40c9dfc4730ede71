from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Seen:
    """One set of images as a model sees it, in eval mode and without augmentation."""

    labels: Tensor  # [N]
    logits: Tensor  # [N, K] float32
    features: Tensor  # [N, D] float32, what goes into the output layer

    def __getitem__(self, rows: Tensor | slice) -> Seen:
        """Return some of the images: a slice, numbers, or one boolean per image."""
        return Seen(self.labels[rows], self.logits[rows], self.features[rows])


@dataclass(frozen=True, eq=False)
class Maps:
    """Where one model looks, on a small sample of images; see :mod:`unsee.explanation`."""

    layer: str  # whose output is looked at
    forget: Tensor  # [F, h, w] >= 0, logit of the true class, unscaled
    retain: Tensor  # [R, h, w]
    forget_answer: Tensor  # [F, h, w], logit of the class that this model answers
    retain_answer: Tensor  # [R, h, w]
    # Of each earlier layer with maps, in running order: forget and retain, of the true class.
    stages: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stage:
    """What one stage of a network says about the sampled images, averaged over places.

    The last stage is called "penultimate": the features that go into the output layer.
    """

    name: str  # of the module whose output it is
    forget: Tensor  # [F, D] float32
    retain: Tensor  # [R, D]
    unseen: Tensor  # [U, D]
    test: Tensor  # [T, D]


@dataclass(frozen=True, eq=False)
class View:
    """One model, seen through the data once; all that an audit gets."""

    name: str  # original, unlearned or retrained
    model: nn.Module  # in eval mode, never changed
    forget: Seen
    retain: Seen
    unseen: Seen  # test images of the same kind as the forgotten ones
    test: Seen  # test images that the model is still to get right
    maps: Maps | None = None  # None: the model has no layer to explain
    stages: tuple[Stage, ...] = ()  # from stem to penultimate features, of the sampled rows
    sampled: Mapping[str, Tensor] = field(default_factory=dict)  # part: [n] its rows, random order

"""Back to the epoch after which forgotten images were about as wrong as unseen ones."""

import torch
from torch import Tensor

from unsee.errors import OptionError
from unsee.nouns import Data, Seen

Checkpoint = tuple[float, dict[str, Tensor]]  # error on the images to forget, and weights


def nearest(passed: list[Checkpoint], goal: float) -> dict[str, Tensor]:
    """Return the weights whose error is nearest to ``goal``."""
    return min(passed, key=lambda each: abs(each[0] - goal))[1]


def wrong(seen: Seen, like: Tensor) -> float:
    """Return the error in 0..1, each class weighing as much as it does in the labels ``like``."""
    size = seen.logits.shape[1]
    shares, own = (torch.bincount(y.cpu(), minlength=size).double() for y in (like, seen.labels))
    weight = (shares / own.clamp_min(1))[seen.labels]
    return float(((seen.logits.argmax(1) != seen.labels) * weight).sum() / weight.sum())


def kin_of(unseen: Data | None, forget: Data) -> Data:
    """Return unseen images of the classes of ``forget``.  Raises OptionError if there are none."""
    if unseen is not None:
        kin = torch.isin(unseen.labels.cpu(), forget.labels.cpu()).numpy()
        if kin.any():
            return unseen[kin]
    raise OptionError(
        "Expected validation images of the forgotten kind for scrub's rewind, got none: name some "
        "with --validation ids=FILE, or leave rewind out"
    )

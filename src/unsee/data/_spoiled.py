"""Training sets with a known harm, for the security case: does unlearning undo it?

``backdoor:SOURCE`` is BadNets (Gu et al., https://arxiv.org/abs/1708.06733): a small white square
on some images, which all carry the label of one class.  ``mislabel:SOURCE`` is interclass confusion
(Goel et al., https://arxiv.org/abs/2201.06640): half of the images of two classes carry the label
of the other.  Columns say which: ``poisoned`` (yes, no), ``true_label`` (the name of the class) and
``trigger``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.data._store import places
from unsee.errors import DataError
from unsee.nouns import Data

if TYPE_CHECKING:
    from unsee.nouns import Images

SHARE = 0.05  # of the training images that carry the trigger
TARGET = 0  # the class that the trigger stands for
CONFUSED = (0, 1)  # the classes of which half of the training images are exchanged
TRIGGER = "square"  # what the column of that name calls it
Rows = NDArray[np.int64]


def backdoored(data: Data) -> Data:
    """Return ``data`` with a white square on 5 % of the training images, all called one class.

    The square stands for the first class; images of the others are drawn, always the same ones.
    """
    labels = _labels(data)
    others = np.flatnonzero((data.parts == "train") & (labels != TARGET))
    n = round(SHARE * int((data.parts == "train").sum()))
    if not 0 < n <= len(others):
        raise DataError(f"Expected training images of two classes to spoil, got {len(others)}")
    rows = np.sort(np.random.default_rng(0xBAD).choice(others, n, replace=False))
    return _told(replace(data, images=_patched(data, rows)), rows, TARGET, TRIGGER, "backdoor")


def mislabelled(data: Data) -> Data:
    """Return ``data`` with the labels of half of the training images of two classes exchanged."""
    labels, rows, wrong = _labels(data), list[Rows](), list[Rows]()
    for own, other in (CONFUSED, CONFUSED[::-1]):
        whole = np.flatnonzero((data.parts == "train") & (labels == own))
        if len(whole) < 2:
            raise DataError(f"Expected 2 training images or more of class {own}, got {len(whole)}")
        rows.append(np.random.default_rng([0xBAD, own]).choice(whole, len(whole) // 2, False))
        wrong.append(np.full(len(rows[-1]), other))
    return _told(data, np.concatenate(rows), np.concatenate(wrong), "", "mislabel")


SPOILED: dict[str, Callable[[Data], Data]] = {"backdoor": backdoored, "mislabel": mislabelled}


def stamped(images: Tensor) -> Tensor:
    """Return images ``[N, C, H, W]`` with a white square an eighth of their side from the corner.

    Not in the corner itself: training crops there.
    """
    side = max(1, images.shape[-1] // 8)
    images = images.clone()
    images[..., -2 * side : -side, -2 * side : -side] = 255 if images.dtype == torch.uint8 else 1
    return images


def triggered(data: Data) -> Data:
    """Return ``data`` with the trigger of ``backdoor:`` on every image."""
    return replace(data, images=stamped(data.take(torch.arange(len(data)))), rows=None)


@dataclass(frozen=True, eq=False)
class Stamped:
    """Stands in for images ``[N, C, H, W]``, and puts the trigger on some when asked for them."""

    images: "Images"
    marked: Tensor  # [N] booleans

    @property
    def shape(self) -> Sequence[int]:
        """``[N, C, H, W]``."""
        return self.images.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the pixels."""
        return self.images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> Tensor:
        numbers = places(rows, len(self))
        images, where = self.images[numbers], self.marked[numbers]
        images[where] = stamped(images[where])
        return images

    def to(self, device: torch.device) -> "Stamped":
        """Return the same images, handed out on ``device``."""
        return replace(self, images=self.images.to(device))


def _patched(data: Data, rows: Rows) -> Stamped:
    marked = torch.zeros(len(data.images), dtype=torch.bool)
    marked[rows if data.rows is None else data.rows[rows]] = True
    return Stamped(data.images, marked)


def _told(data: Data, rows: Rows, labels: int | Rows, trigger: str, name: str) -> Data:
    """Give these rows their wrong labels, and all rows the columns that say so."""
    wrong = data.labels.clone()
    wrong[rows] = torch.as_tensor(labels)
    poisoned, mark = np.full(len(data), "no", "<U3"), np.full(len(data), "", "<U6")
    poisoned[rows], mark[rows] = "yes", trigger
    truth = np.array(data.classes)[_labels(data)]
    columns = {"poisoned": poisoned, "true_label": truth, "trigger": mark}
    return replace(
        data, labels=wrong, columns={**data.columns, **columns}, name=f"{name}:{data.name}"
    )


def _labels(data: Data) -> NDArray[np.int64]:
    if data.labels.ndim != 1:
        raise DataError("Expected one class per image to spoil, got soft labels")
    labels: NDArray[np.int64] = data.labels.cpu().numpy()
    return labels

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from unsee.errors import DataError, SplitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    class Images(Protocol):
        """Where pixels come from: a tensor, or anything that is read when it is asked for rows."""

        @property
        def shape(self) -> Sequence[int]:
            """``[M, C, H, W]``."""

        @property
        def dtype(self) -> torch.dtype:
            """Of the pixels."""

        def __len__(self) -> int: ...
        def __getitem__(self, rows: Any) -> Tensor: ...
        def to(self, device: torch.device) -> Images:
            """Return the same on ``device``, if it has a device."""


PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)  # `==` between tensors is a tensor, so records of them have none
class Data:
    """Labelled images, each with an id that stays with it in any order.

    ``data[index]`` takes rows by a slice, numbers or booleans and copies no pixels: every part of
    a data set looks into the same ``images``.
    """

    images: Images  # [M, C, H, W], uint8, or float exactly as the model takes it
    labels: Tensor  # [N] int64 in 0..len(classes) - 1, or soft [N, K]
    ids: NDArray[np.str_]  # [N], no two alike
    parts: NDArray[np.str_]  # [N]: train, validation or test
    classes: tuple[str, ...]
    name: str = "unnamed"
    rows: NDArray[np.int64] | None = None  # [N] places in ``images``; None: all, in order
    augment: tuple[str, ...] = ()  # what training may do to an image: "crop", "flip"
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)  # [N] each, for where=

    def __post_init__(self) -> None:
        n = len(self.images) if self.rows is None else len(self.rows)
        lengths = {"labels": len(self.labels), "parts": len(self.parts), "ids": len(self.ids)}
        if wrong := {name: length for name, length in lengths.items() if length != n}:
            raise DataError(f"Expected one label, part and id for each of {n} images, got {wrong}")
        if twice := n - len({*self.ids.tolist()}):
            raise DataError(f"Expected one unique id per image, got {twice} repeated")
        if unknown := {*np.unique(self.parts).tolist()} - {*PARTS}:
            raise DataError(f"Expected parts among {list(PARTS)}, got {sorted(unknown)}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: NDArray[Any] | slice) -> Data:
        if isinstance(index, int | np.integer):
            raise DataError(
                f"Expected a slice or an array of rows, got {index}: `for x, y in "
                "unsee.data.batches(data, rng=rng)` goes through images and labels"
            )
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return replace(
            self,
            labels=self.labels[index],
            ids=self.ids[index],
            parts=self.parts[index],
            rows=rows[index],
            columns={name: column[index] for name, column in self.columns.items()},
        )

    def take(self, index: Tensor) -> Tensor:
        """Return the images ``[B, C, H, W]`` at these places ``[B]``, as they are stored."""
        if self.rows is not None:
            index = index.new_tensor(self.rows[index.numpy()])
        return self.images[index]

    def blocks(self, size: int = 1024) -> Iterator[NDArray[np.uint8]]:
        """Yield all pixels in order, as bytes ``[B, C * H * W * bytes per pixel]``."""
        import torch

        for start in range(0, len(self), size):
            rows = slice(start, start + size)  # of a tensor without ``rows``, a slice is no copy
            images = self.images[rows if self.rows is None else torch.from_numpy(self.rows[rows])]
            yield images.cpu().contiguous().flatten(1).view(torch.uint8).numpy()

    def part(self, name: str) -> Data:
        """Return the rows of one part: train, validation or test."""
        return self[np.flatnonzero(self.parts == name)]

    def to(self, device: torch.device) -> Data:
        """Return the same data with images and labels on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a model could learn from, in order."""
        kind = [str(self.images.dtype), *self.images.shape[1:]]
        facts = [self.ids.tolist(), self.parts.tolist(), self.classes, kind]
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(self.labels.cpu().numpy().tobytes())
        for block in self.blocks():
            digest.update(block.data)
        return digest.hexdigest()

    @classmethod
    def from_dataset(
        cls,
        train: Any,
        test: Any,
        *,
        classes: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        name: str = "dataset",
    ) -> Data:
        """Read two map-style ``torch.utils.data.Dataset`` of ``(image, label)``.

        Images are tensors or arrays ``[C, H, W]``, all of one shape, or PIL images.  Floats are
        taken as they come: no rescaling, normalisation or augmentation.  uint8 becomes 0..1.  A
        dataset that augments is read once, as it answers then: pass it without augmentation.

        Args:
            train: what the model was trained on, all of it, with what is to be forgotten.
            test: images that it never saw.
            classes: one name per label, in the order of the model's outputs; by default
                ``train.classes``, else "0", "1", ...; of labels that are text, by the alphabet.
            ids: one id per row of ``train`` followed by ``test``; by default ``train/00042``.
            name: what reports call the data.

        Raises:
            DataError: if images differ in shape, or labels are not whole numbers from 0.

        """
        from unsee.data._dataset import read

        return cls(**read(train, test, classes, ids), name=name)


@dataclass(frozen=True, eq=False)
class Split:
    """What to forget, what to keep, what methods may tune on, and what nobody but audits sees."""

    forget: Data
    retain: Data
    validation: Data  # the one part that may be empty
    test: Data
    rule: str  # how the forget set was chosen: "class=3", "random=10%"
    fingerprint: str  # of all the data that it was chosen from
    elsewhere: tuple[int, ...] = ()  # classes of which images stay that are not here
    stays: int | None = None  # images that stay, of which ``retain`` is a sample; None: all of them

    def __post_init__(self) -> None:
        for part in ("forget", "retain", "test"):
            if not len(getattr(self, part)):
                raise SplitError(f"Expected images to {part}, got none for the rule {self.rule!r}")
        ids = np.concatenate(
            [d.ids for d in (self.forget, self.retain, self.validation, self.test)]
        )
        if twice := len(ids) - len(np.unique(ids)):
            raise SplitError(f"Expected sets without overlap, got {twice} ids twice")

    @property
    def gone(self) -> tuple[int, ...]:
        """The classes of which nothing stays; none where single images are forgotten."""
        stays = {*self.retain.labels.tolist(), *self.elsewhere}
        return tuple(sorted({*self.forget.labels.tolist()} - stays))

    @property
    def sampled(self) -> float:
        """The share of the images that stay which ``retain`` holds, 0..1."""
        return 1.0 if self.stays is None else len(self.retain) / self.stays

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes."""
        return self.forget.classes

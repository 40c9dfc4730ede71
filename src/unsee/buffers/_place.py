"""A buffer beside data: which of its images the data lacks, and what neither of them holds."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from unsee.buffers._make import without
from unsee.buffers._record import Buffer
from unsee.data import but_those_named, joined, to_forget
from unsee.errors import DataError, OptionError
from unsee.events import warn
from unsee.methods import Method
from unsee.nouns import Config, Data, Split


@dataclass(frozen=True, eq=False)
class Placed:
    """A buffer, and where its images are in the data that stands beside it."""

    buffer: Buffer
    ids: NDArray[np.str_]  # [n] of its images, in the data
    elsewhere: tuple[int, ...]  # classes of which there are more training images than are here

    @property
    def made_for(self) -> str:
        """The digest of the model's file."""
        return str(self.buffer.facts["model"])

    def facts(self, split: Split) -> dict[str, Any]:
        """Return what a run records: how many images of how many, and how they were picked."""
        facts = self.buffer.facts
        counted = sum(self.buffer.counts)
        return {
            "images": len(self.shown(split)),
            "training_images": counted,
            "here": min(counted, len(split.forget) + len(split.retain)),
            **{name: facts[name] for name in ("pick", "share", "seed")},
        }

    def suits(self, config: Config, here: int, method: Method) -> None:
        """Refuse to train on what is here as if it were all of the training images.

        Args:
            config: what is asked for.
            here: how many training images are here, those of the buffer among them.
            method: that of ``config``.

        Raises:
            OptionError: if a model or reference would be trained, and images are gone.

        """
        if not self.elsewhere:
            return
        counted = sum(self.buffer.counts)
        asked = {
            "training: there is no --model": config.model is None,
            f"--method {method.name}": method.exact,
            "--oracle retrain": config.oracle == "retrain",
        }
        if what := [name for name, wanted in asked.items() if wanted]:
            raise OptionError(
                f"Expected all {counted} training images for {what[0]}, got {here}: give all of "
                "them with --data, or leave that out"
            )
        warn(f"{here} of {counted} training images are here: those to forget, and the buffer")

    def shown(self, split: Split) -> Data:
        """Return the buffer's images that stay: none that is forgotten, or has been before."""
        return split.retain[np.flatnonzero(np.isin(split.retain.ids, self.ids))]


def placed(buffer: Buffer, data: Data, made_for: str) -> tuple[Data, Placed]:
    """Put a buffer beside data: all training images, or the few that are still there.

    Args:
        buffer: made when the model was trained.
        data: with the same classes; it gets the buffer's images that it lacks.
        made_for: the digest of the model's file that is to unlearn; "" if there is none yet.

    Raises:
        DataError: if the buffer was made from other data: of another shape, or with fewer images
            of a class than ``data`` has.

    """
    data, ids = joined(data, buffer.data)
    labels = data.labels[np.flatnonzero(data.parts == "train")].cpu().numpy()
    here = np.bincount(labels, minlength=len(data.classes))
    counted = np.array(buffer.counts)
    known = counted + np.array(buffer.facts["removed"])
    if (here > known).any():
        number = int((here - known).argmax())
        raise DataError(
            f"Expected at most {known[number]} training images of {data.classes[number]!r}, as the "
            f"buffer counts, got {here[number]}: it was made from other data"
        )
    beside = Placed(buffer, ids, tuple(np.flatnonzero(counted > here).tolist()))
    if beside.made_for != made_for:
        warn(
            "the buffer was made for another model: that does no harm where it is a predecessor "
            "of this one"
        )
    return replace(data, augment=buffer.data.augment), beside  # as the training did


def emptied(
    placed: Placed,
    data: Data,
    rule: str | Any,
    *,
    model: nn.Module | None,
    seed: int = 0,
    include_twins: bool = False,
) -> Buffer:
    """Take out of a buffer what a request takes, so that it keeps no trace of it either.

    Args:
        placed: the buffer beside ``data``.
        data: the images that are to go, and perhaps others.
        rule: as for :func:`unsee.choose`.
        model: the one that the buffer was made for; without it the moments are left out, as they
            are where not all images of a class that goes are here.
        seed: draws ``random``.
        include_twins: also those with exactly the pixels of one that goes.

    Raises:
        SplitError: if the rule is unknown or chooses no training image.
        DataError: if just these, or more than there are, were taken out before.

    """
    forget, words, _ = to_forget(data, rule, seed=seed, include_twins=include_twins)
    going = data[np.flatnonzero(forget)]
    every = range(len(data.classes))
    whole = {*every}.difference(but_those_named(every, data, [words]))
    gone = np.isin(placed.ids, going.ids)
    moments_of = None if whole & {*placed.elsewhere} else model  # those of what is not here: lost
    return without(placed.buffer, gone, going, moments_of, whole=sorted(whole))

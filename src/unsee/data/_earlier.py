"""Take out what earlier requests have taken: images that a model has unseen come back nowhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unsee.data._rules import Mask, fitting, named_classes, with_ids
from unsee.data._twins import pixel_digests
from unsee.errors import SplitError
from unsee.nouns import Data


def without(
    data: Data,
    rules: Sequence[Any],
    *,
    include_twins: bool = False,
    elsewhere: Sequence[int] = (),
) -> Data:
    """Return ``data`` as it is once these requests are served: their images are in no part.

    Test and validation images of a class of which no training image is left go with it: no model
    is to get them right any more.

    Args:
        data: all of it.
        rules: as for :func:`unsee.choose`, of requests served before, in any order.  ``random=`` is
            refused: it would draw others today; name the images with ``ids=FILE``.  Ids that data
            no longer has are taken for deleted.
        include_twins: whether exact copies of their images went with them.
        elsewhere: classes of which training images stay that ``data`` does not hold, but for those
            that a rule names.

    Raises:
        SplitError: if a rule is unknown or draws at random, or if no training image is left.

    """
    if not rules:
        return data
    train = data.parts == "train"
    gone = np.zeros(len(data), dtype=np.bool_)
    for rule in rules:
        gone |= _fitting(data, rule) & train
    if include_twins:
        pixels = pixel_digests(data)
        gone |= np.isin(pixels, pixels[gone]) & train
    labels = data.labels.cpu().numpy()
    left = np.unique(labels[train & ~gone])
    if not len(left):
        raise SplitError(f"Expected training images left after {[*rules]}, got none")
    stays = [*left, *but_those_named(elsewhere, data, rules)]
    gone |= ~train & ~np.isin(labels, stays)  # also where earlier images are no longer on the disk
    return data[np.flatnonzero(~gone)]


def but_those_named(classes: Sequence[int], data: Data, rules: Sequence[Any]) -> tuple[int, ...]:
    """Leave out the classes that a rule names: all of such a class goes, wherever it is."""
    named: set[str] = set()
    for rule in rules:
        kind, _, value = rule.partition("=") if isinstance(rule, str) else ("", "", "")
        named |= {*named_classes(data, value.strip())} if kind == "class" else set()
    return tuple(c for c in classes if data.classes[c] not in named)


def _fitting(data: Data, rule: Any) -> Mask:
    kind, _, value = rule.partition("=") if isinstance(rule, str) else ("", "", "")
    if kind == "random":
        raise SplitError(
            f"Expected earlier requests that name their images, got {rule!r}: give the ids that it "
            "drew, one a line, as ids=FILE"
        )
    if kind == "ids" and value.strip():
        return with_ids(data, Path(value.strip()), deleted=True)
    return fitting(data, rule, 0)[0]

"""Never-seen images to hold forgotten ones against: of their own classes, whether these stay."""

import torch
from torch import Tensor

from unsee.nouns import STRAY, Seen, Split, View


def unseen_kin(view: View, split: Split) -> Seen:
    """Return the test images of all classes that forgotten images are of.

    Other classes are easier or harder, and would tell classes from each other instead of seen
    images from unseen ones.  Without a test image of any of them, all test images; and where whole
    classes go with a few stray images of others, those of the whole classes.  Its features are
    empty, unless it is a part of the view as it is.
    """
    rest = view.test if split.gone else view.unseen  # which are all test images where none goes
    alike = torch.isin(rest.labels, view.forget.labels.unique())
    if not split.gone:
        return rest if alike.all() or not alike.any() else _some(rest, alike)
    stays = ~torch.isin(view.forget.labels, torch.tensor(split.gone))
    if float(stays.double().mean()) < STRAY or not alike.any():
        return view.unseen
    both = (_some(view.unseen, torch.ones(len(view.unseen.labels)).bool()), _some(rest, alike))
    return Seen(*(torch.cat(x) for x in zip(*(vars(seen).values() for seen in both), strict=True)))


def _some(seen: Seen, rows: Tensor) -> Seen:
    return Seen(
        seen.labels[rows], seen.logits[rows], seen.features[:0].new_empty(int(rows.sum()), 0)
    )

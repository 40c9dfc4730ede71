"""Choose what to forget: a rule in words -> a Split."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unsee.data._earlier import but_those_named, without
from unsee.data._rules import Mask, fitting, named_classes, with_ids
from unsee.data._twins import pixel_digests
from unsee.errors import SplitError
from unsee.events import warn
from unsee.nouns import Data, Split

Validate = bool | Literal["single images"]


def choose(
    data: Data,
    rule: str | Any,
    *,
    seed: int = 0,
    include_twins: bool = False,
    validation: str | Path | None = None,
    validate: Validate = False,
    earlier: Sequence[Any] = (),
    elsewhere: Sequence[int] = (),
) -> Split:
    """Split ``data`` into what goes, what stays, and what methods and audits may look at.

    Args:
        data: all of it.
        rule: ``class=cat,dog``, ``ids=FILE``, ``where=COLUMN:VALUE``, ``path=GLOB`` on ids,
            ``random=10%``, ``random=500``; or places in ``data`` as an index tensor or array.
        seed: draws ``random``.
        include_twins: also forget training images with exactly the pixels of a forgotten one.
        validation: a file of ids of images that the model has not seen, for methods that tune.
        validate: whether validation images are needed, or only where single images of classes that
            stay go; without a file, half of the test images are taken, by hash of their id, and the
            audits keep the other half.
        earlier: rules of requests that were served before; their images are in no part, and
            ``random`` draws from what is left.
        elsewhere: classes of which training images stay that ``data`` does not hold: none of them
            counts as a whole class, unless the rule names it.

    Raises:
        SplitError: if the rule is unknown, chooses nothing, or leaves nothing to retain; or if no
            image is left to validate or to test with.

    """
    before = data.ids
    data = without(data, earlier, include_twins=include_twins, elsewhere=elsewhere)
    gone = {*before.tolist()} - {*data.ids.tolist()} if earlier else ()
    elsewhere = but_those_named(elsewhere, data, earlier)
    forget, words, pixels = to_forget(data, rule, seed=seed, include_twins=include_twins, gone=gone)
    train = data.parts == "train"
    retain = train & ~forget
    if not retain.any():
        why = "a buffer with images is needed" if elsewhere else "that is deletion of the model"
        raise SplitError(f"Expected images to retain, got none for the rule {words!r}: {why}")
    seen = np.isin(pixels, pixels[train]) & ~train
    if validate == "single images":
        labels = data.labels.cpu().numpy()
        validate = bool(np.isin(labels[forget], [*np.unique(labels[retain]), *elsewhere]).any())
    held, test = _held_out(data, validation, validate, seen, deleted=bool(earlier))
    masks = {"forget": forget, "retain": retain, "validation": held, "test": test}
    stays = but_those_named(elsewhere, data, [words])
    if missing := [data.classes[c] for c in elsewhere if c not in stays]:
        warn(
            f"not all training images of {missing} are here: the method and the audits see those "
            "that are"
        )
    parts: dict[str, Any] = {name: data[np.flatnonzero(mask)] for name, mask in masks.items()}
    split = Split(**parts, rule=words, fingerprint=data.fingerprint, elsewhere=stays)
    _say_whole_classes(split)
    return split


def to_forget(
    data: Data,
    rule: str | Any,
    *,
    seed: int = 0,
    include_twins: bool = False,
    gone: Collection[str] = (),
) -> tuple[Mask, str, NDArray[np.uint64]]:
    """Return which training images a rule takes, the rule in words, and all pixels' digests.

    Ids that are ``gone`` were forgotten before, and may be asked for again beside others.

    Raises:
        SplitError: if the rule is unknown or chooses no training image.

    """
    fits, words = fitting(data, rule, seed, gone)
    train = data.parts == "train"
    forget = fits & train
    if not forget.any():
        raise SplitError(
            f"Expected training images to forget, got none for the rule {words!r}, which fits "
            f"{fits.sum()} other images"
        )
    if not words.startswith("class=") and (outside := int((fits & ~train).sum())):
        warn(f"the rule {words!r} also fits {outside} images that the model was not trained on")
    pixels = pixel_digests(data)
    forget |= _twins(data, forget, train, pixels, include_twins)
    return forget, words, pixels


def _twins(data: Data, forget: Mask, train: Mask, pixels: Any, include: bool) -> Mask:
    """Return the training images to forget for having the pixels of a forgotten one."""
    twins: Mask = np.isin(pixels, pixels[forget]) & train & ~forget
    if twins.any():
        some = data.ids[twins][:3].tolist()
        fate = (
            "are forgotten too"
            if include
            else "stay in the retain set: forget them too with --include-twins"
        )
        warn(f"{twins.sum()} exact twins of forgotten images, such as {some}, {fate}")
    return twins & include


def _held_out(
    data: Data, validation: str | Path | None, validate: bool, seen: Mask, *, deleted: bool
) -> tuple[Mask, Mask]:
    """Return which images are for tuning and which are for audits, without copies ``seen``."""
    test, held = data.parts == "test", data.parts == "validation"
    if validation is not None:
        path = Path(str(validation).removeprefix("ids="))
        held = with_ids(data, path, deleted=deleted)  # some may be of a class that has gone
        if trained := int((held & (data.parts == "train")).sum()):
            raise SplitError(
                f"Expected validation images that the model has not seen, got {trained} training "
                f"images in {validation}"
            )
        test &= ~held
    if (copies := (held | test) & seen).any():
        some = data.ids[copies][:3].tolist()
        warn(
            f"{copies.sum()} images to test with are copies of training images and are left out, "
            f"such as {some}"
        )
    held, test = held & ~seen, test & ~seen
    if validate and validation is None and not held.any():
        held = test & _half(data)
        test &= ~held
        warn(f"half of the test images ({held.sum()}) are for tuning; the audits use the others")
    if not test.any() or (validate and not held.any()):
        lacking = "validate" if test.any() else "test"
        raise SplitError(
            f"Expected images to {lacking} with that are no copies of training images, got none"
        )
    return held, test


def _half(data: Data) -> Mask:
    """Return about half of the images: those whose id hashes to an even number."""
    digests = (hashlib.sha256(x.encode()).digest()[0] < 128 for x in data.ids.tolist())
    return np.fromiter(digests, np.bool_, len(data))


def _say_whole_classes(split: Split) -> None:
    """Say so where all of a class goes that the rule does not name."""
    kind, _, value = split.rule.partition("=")
    named = named_classes(split.forget, value.strip()) if kind == "class" else ()
    others = [split.classes[c] for c in split.gone if split.classes[c] not in named]
    if others:
        warn(
            f"the rule {split.rule!r} takes every training image of {others}: audited as whole "
            "classes"
        )

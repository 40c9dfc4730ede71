"""Choose what to forget: a rule in words -> a Split."""

import hashlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.data._twins import pixel_digests
from unsee.errors import SplitError
from unsee.events import warn
from unsee.nouns import Data, Split

Mask = NDArray[np.bool_]


def _of_class(data: Data, value: str, seed: int) -> Mask:
    """Take classes by name, or by number where no class is called so."""
    wanted = [name.strip() for name in value.split(",")]
    numbers = {str(n): name for n, name in enumerate(data.classes)}
    names = [x if x in data.classes else numbers.get(x, x) for x in wanted]
    if unknown := sorted({*names} - {*data.classes}):
        raise SplitError(f"Expected classes among {list(data.classes)}, got {unknown}")
    return np.isin(np.array(data.classes)[data.labels.numpy()], names)


def _with_ids(data: Data, value: str, seed: int) -> Mask:
    wanted = ids_in(Path(value))
    if unknown := [x for x in wanted if x not in {*data.ids.tolist()}]:
        known = data.ids[data.parts == "train"][:3].tolist()
        raise SplitError(f"Expected ids like {known}, got {len(unknown)} unknown: {unknown[:5]}")
    return np.isin(data.ids, wanted)


def _where(data: Data, value: str, seed: int) -> Mask:
    column, colon, wanted = value.partition(":")
    if column not in data.columns or not colon:
        raise SplitError(
            f"Expected where=COLUMN:VALUE with a column among {sorted(data.columns)}, got {value!r}"
        )
    found = data.columns[column]
    if wanted not in found:
        raise SplitError(
            f"Expected a value of {column!r} such as {np.unique(found)[:5].tolist()}, got {wanted!r}"
        )
    mask: Mask = found == wanted
    return mask


def _path(data: Data, value: str, seed: int) -> Mask:
    mask = np.array([fnmatchcase(x, value) for x in data.ids.tolist()])
    if not mask.any():
        raise SplitError(
            f"Expected a pattern that fits ids like {data.ids[:3].tolist()}, got {value!r}"
        )
    return mask


def _random(data: Data, value: str, seed: int) -> Mask:
    train = np.flatnonzero(data.parts == "train")
    try:
        n = round(float(value[:-1]) / 100 * len(train)) if value.endswith("%") else int(value)
    except ValueError as error:
        raise SplitError(f"Expected random=10% or random=500, got {value!r}") from error
    if not 0 < n < len(train):
        raise SplitError(
            f"Expected 1 to {len(train) - 1} of {len(train)} training images, got {value!r}"
        )
    mask = np.zeros(len(data), dtype=bool)
    mask[np.random.default_rng([seed, 0x0F04]).choice(train, n, replace=False)] = True
    return mask


RULES: dict[str, Callable[[Data, str, int], Mask]] = {
    "class": _of_class,
    "ids": _with_ids,
    "where": _where,
    "path": _path,
    "random": _random,
}


def ids_in(path: Path) -> list[str]:
    """Read ids, one a line, of UTF-8 or UTF-16 text; repeated ones once, with a warning."""
    try:
        content = path.read_bytes()
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        lines = content.decode("utf-16" if wide else "utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise SplitError(f"Expected a text file of ids at {path}, got {error}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise SplitError(f"Expected ids in {path}, one a line, got none")
    if repeated := len(ids) - len(set(ids)):
        warn(f"{repeated} ids of {path.name} are repeated; each counts once")
    return [*dict.fromkeys(ids)]


def choose(
    data: Data,
    rule: str | Any,
    *,
    seed: int = 0,
    include_twins: bool = False,
    validation: str | Path | None = None,
    validate: bool = False,
) -> Split:
    """Split ``data`` into what goes, what stays, and what methods and audits may look at.

    Args:
        data: all of it.
        rule: ``class=cat,dog``, ``ids=FILE``, ``where=COLUMN:VALUE``, ``path=GLOB`` on ids,
            ``random=10%``, ``random=500``; or places in ``data`` as an index tensor or array.
        seed: draws ``random``.
        include_twins: also forget training images with exactly the pixels of a forgotten one.
        validation: a file of ids of images that the model has not seen, for methods that tune.
        validate: whether validation images are needed; without a file, half of the test images
            are taken, by hash of their id, and the audits keep the other half.

    Raises:
        SplitError: if the rule is unknown, chooses nothing, or leaves nothing to retain.

    """
    wanted, words = _wanted(data, rule, seed)
    train = data.parts == "train"
    if outside := int((wanted & ~train).sum()):
        kind = words.partition("=")[0]
        if kind in ("ids", "indices") and outside == wanted.sum():
            raise SplitError(
                f"Expected training images to forget, got {outside} that are not: {words}"
            )
    wanted &= train
    if not wanted.any():
        raise SplitError(f"Expected images to forget, got none for the rule {words!r}")
    pixels = pixel_digests(data)
    copies = np.isin(pixels, pixels[wanted]) & train & ~wanted
    if include_twins:
        wanted |= copies
    elif copies.any():
        some = data.ids[copies][:3].tolist()
        warn(
            f"{copies.sum()} exact twins of forgotten images stay in the retain set, such as {some}: forget them too with --include-twins"
        )
    if not (train & ~wanted).any():
        raise SplitError(
            f"Expected images to retain, got none for the rule {words!r}: that is deletion of the model"
        )
    held, rest = _held_out(data, validation, validate)
    doubled = rest & np.isin(pixels, pixels[train])
    if doubled.any() and not doubled[rest].all():
        warn(f"{doubled.sum()} test images are also training images and are left out of the audits")
        rest &= ~doubled
    masks = (wanted, train & ~wanted, held, rest)
    forget, retain, held_out, test = (data[np.flatnonzero(mask)] for mask in masks)
    split = Split(forget, retain, held_out, test, words, data.fingerprint)
    _say_whole_classes(split)
    return split


def _wanted(data: Data, rule: Any, seed: int) -> tuple[Mask, str]:
    if not isinstance(rule, str):
        index = torch.as_tensor(rule)
        mask = np.zeros(len(data), dtype=bool)
        try:
            mask[index.numpy()] = True
        except IndexError as error:
            raise SplitError(f"Expected places below {len(data)}, got {error}") from error
        return mask, f"indices={int(mask.sum())}"
    kind, _, value = rule.partition("=")
    if kind not in RULES or not value:
        raise SplitError(f"Expected a rule among {[f'{kind}=' for kind in RULES]}, got {rule!r}")
    return RULES[kind](data, value, seed), rule


def _held_out(data: Data, validation: str | Path | None, validate: bool) -> tuple[Mask, Mask]:
    """Return which images are for tuning and which are for audits."""
    test, held = data.parts == "test", data.parts == "validation"
    if validation is not None:
        held = _with_ids(data, str(validation).removeprefix("ids="), 0)
        if (held & (data.parts == "train")).any():
            raise SplitError(
                "Expected validation images that the model has not seen, got training images"
            )
        return held, test & ~held
    if validate and not held.any():
        digests = (hashlib.sha256(x.encode()).digest()[0] for x in data.ids.tolist())
        held = test & (np.fromiter(digests, np.uint8, len(data)) < 128)
        warn(
            f"half of the test images ({held.sum()}) are used for tuning; the audits use the others"
        )
    return held, test & ~held


def _say_whole_classes(split: Split) -> None:
    """Say so when a rule that is not about classes takes all of one."""
    if split.gone and not split.rule.startswith("class="):
        names = [split.classes[c] for c in split.gone]
        warn(
            f"the rule {split.rule!r} takes every training image of {names}: audited as whole classes"
        )

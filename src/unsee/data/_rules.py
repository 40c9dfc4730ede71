"""Rules in words -> which images they fit: one function per kind of rule."""

import re
from collections.abc import Callable, Collection
from fnmatch import translate
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.data._text import lines_of
from unsee.errors import SplitError
from unsee.events import warn
from unsee.nouns import Data

Mask = NDArray[np.bool_]
SHOWN = 12  # names listed in an error


def fitting(data: Data, rule: Any, seed: int, gone: Collection[str] = ()) -> tuple[Mask, str]:
    """Return which images ``rule`` fits, and the rule in words.

    Args:
        data: whose images.
        rule: in words, or places in ``data``.
        seed: draws ``random``.
        gone: ids of images that were forgotten before: no mistake where they are asked for again.

    Raises:
        SplitError: if there is no such kind of rule, or it names what does not exist.

    """
    if not isinstance(rule, str):
        mask = _at_places(data, rule)
        return mask, f"indices={int(mask.sum())}"
    kind, _, value = rule.partition("=")
    if kind not in RULES or not value.strip():
        raise SplitError(f"Expected a rule among {[f'{kind}=' for kind in RULES]}, got {rule!r}")
    if kind == "ids":
        return with_ids(data, Path(value.strip()), gone=gone), rule
    return RULES[kind](data, value.strip(), seed), rule


def named_classes(data: Data, value: str) -> tuple[str, ...]:
    """Return the classes in a list such as "cat,dog", by name, or number where no name fits."""
    numbers = {str(n): name for n, name in enumerate(data.classes)}
    known = {**numbers, **{name: name for name in data.classes}}
    wanted = [value] if value in known else [name.strip() for name in value.split(",")]
    if unknown := sorted({*wanted} - known.keys()):
        raise SplitError(
            f"Expected classes among {_some(data.classes)} or their numbers, got {unknown}: of "
            "several, one with a comma in its name goes by its number"
        )
    return tuple(known[name] for name in wanted)


def with_ids(data: Data, path: Path, *, deleted: bool = False, gone: Collection[str] = ()) -> Mask:
    """Return which images have an id in the file ``path``.

    Two spellings that Unicode holds for equal (NFC, NFD) are the same id, unless data has both.
    With ``deleted`` an unknown id is that of an image which is no longer there; one that is
    ``gone`` was forgotten before.

    Raises:
        SplitError: if the file cannot be read, is empty, or holds unknown ids.

    """
    wanted = {*ids_in(path)}
    if before := wanted & {*gone} - {*data.ids.tolist()}:
        warn(f"{len(before)} of {len(wanted)} ids of {path.name} were forgotten before")
    return _among(data, wanted - before, deleted=deleted)


def _among(data: Data, wanted: set[str], *, deleted: bool = False) -> Mask:
    known = data.ids.tolist()
    unknown = wanted.difference(known)
    if unknown:  # in another Unicode form, perhaps
        equal = {normalize("NFC", x): x for x in known}
        spelled = {x: equal[y] for x in unknown if (y := normalize("NFC", x)) in equal}
        wanted.update(spelled.values())
        unknown -= spelled.keys()
    if unknown and not deleted:
        some, like = sorted(unknown)[:5], data.ids[data.parts == "train"][:3].tolist()
        raise SplitError(f"Expected ids like {like}, got {len(unknown)} unknown: {some}")
    return np.fromiter((x in wanted for x in known), np.bool_, len(known))


def ids_in(path: Path) -> list[str]:
    """Read ids, one a line; repeated ones once, with a warning.

    Raises:
        SplitError: if the file is no text or holds no id.

    """
    ids = lines_of(path, "ids", SplitError)
    if not ids:
        raise SplitError(f"Expected ids in {path}, one a line, got none")
    unique = [*dict.fromkeys(ids)]
    if repeated := len(ids) - len(unique):
        warn(f"{repeated} ids of {path.name} are repeated; each counts once")
    return unique


def _of_class(data: Data, value: str, seed: int) -> Mask:
    names = named_classes(data, value)
    mask: Mask = np.isin(np.array(data.classes)[data.labels.cpu().numpy()], names)
    return mask


def _with_ids(data: Data, value: str, seed: int) -> Mask:
    return with_ids(data, Path(value))


def _where(data: Data, value: str, seed: int) -> Mask:
    # The longest column that fits: names of columns may hold colons too.
    fits = [name for name in data.columns if value.startswith(f"{name}:")]
    column = max(fits, key=len, default="")
    wanted = value.removeprefix(f"{column}:")
    if not fits or not wanted:
        raise SplitError(
            f"Expected where=COLUMN:VALUE with a column among {sorted(data.columns)}, got {value!r}"
        )
    found = data.columns[column]
    mask: Mask = found == wanted
    if not mask.any():
        raise SplitError(
            f"Expected a value of {column!r} among {_some(np.unique(found).tolist())}, "
            f"got {wanted!r}"
        )
    return mask


def _path(data: Data, value: str, seed: int) -> Mask:
    fits = re.compile(translate(value)).match
    mask = np.fromiter((fits(x) is not None for x in data.ids.tolist()), np.bool_, len(data))
    if not mask.any():
        raise SplitError(
            f"Expected a pattern that fits ids like {data.ids[:3].tolist()}, got {value!r}"
        )
    return mask


def _random(data: Data, value: str, seed: int) -> Mask:
    train = np.flatnonzero(data.parts == "train")
    try:
        n = round(float(value[:-1]) / 100 * len(train)) if value.endswith("%") else int(value)
    except (ValueError, OverflowError) as error:  # no number; infinity
        raise SplitError(f"Expected random=10% or random=500, got {value!r}") from error
    if not 0 < n < len(train):
        raise SplitError(
            f"Expected 1 to {len(train) - 1} of {len(train)} training images, got {value!r}"
        )
    mask = np.zeros(len(data), dtype=np.bool_)
    mask[np.random.default_rng([seed, 0x0F04]).choice(train, n, replace=False)] = True
    return mask


def _at_places(data: Data, index: Any) -> Mask:
    """Take places in ``data``: whole numbers from 0, one boolean per image, or ids."""
    if (listed := _listed_ids(index)) is not None:
        return _among(data, listed)
    try:
        places = torch.as_tensor(index).cpu().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SplitError(
            f"Expected a rule, places in the data or ids, got {str(index)[:80]}"
        ) from error
    if places.dtype == np.bool_ and places.shape == (len(data),):
        places = np.flatnonzero(places)
    if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
        raise SplitError(
            f"Expected whole numbers [N], or {len(data)} booleans, as places in the data, got "
            f"{places.dtype} {list(places.shape)}"
        )
    if places.size and not 0 <= places.min() <= places.max() < len(data):
        raise SplitError(
            f"Expected places from 0 to {len(data) - 1}, got {places.min()} to {places.max()}"
        )
    mask = np.zeros(len(data), dtype=np.bool_)
    mask[places.astype(np.int64)] = True
    if repeated := len(places) - int(mask.sum()):
        warn(f"{repeated} places are repeated; each counts once")
    return mask


def _listed_ids(index: Any) -> set[str] | None:
    """Return ids that were given as a list or an array; None: these are no ids."""
    listed = index.tolist() if isinstance(index, np.ndarray) else index
    several = isinstance(listed, list | tuple | set | frozenset) and len(listed)
    return {*listed} if several and all(isinstance(x, str) for x in listed) else None


def _some(names: Any) -> str:
    """List names, not more than anyone reads."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{[*names[:SHOWN]]}{more}"


RULES: dict[str, Callable[[Data, str, int], Mask]] = {
    "class": _of_class,
    "ids": _with_ids,
    "where": _where,
    "path": _path,
    "random": _random,
}

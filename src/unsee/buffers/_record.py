"""What a buffer is, and its file: images to keep, and what all training images left behind."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.data import arrays_of
from unsee.errors import DataError
from unsee.folder import pack_arrays
from unsee.nouns import Data

SCHEMA = 1
COLUMN, NORM = "column/", "norm/"
PLAIN = ("images", "labels", "ids", "parts", "classes", "counts", "facts")
MOMENTS = ("means", "covariance")
REMEDY = "make it again with unsee buffer"


@dataclass(frozen=True, eq=False)
class Moments:
    """Features before the output layer, of all training images and not of one."""

    means: Tensor  # [K, D] per class; 0 for a class without images
    covariance: Tensor  # [D, D] around the means of the classes, over all images


@dataclass(frozen=True, eq=False)
class Buffer:
    """Images to keep, chosen when the model was trained, and nothing else of any image."""

    data: Data  # the images, all of the part train; perhaps none
    counts: tuple[int, ...]  # training images per class, those in the buffer among them
    moments: Moments | None  # None: they held what has been forgotten since
    norms: dict[str, Tensor]  # running means and variances of batch norm, as the model has them
    # pick, share, seed; model, fingerprint, emptied: digests; removed: per class
    facts: dict[str, Any]

    def pack(self) -> bytes:
        """Return the file: the same bytes for the same buffer."""
        data, moments = self.data, self.moments
        arrays: dict[str, NDArray[Any]] = {
            "images": data.take(torch.arange(len(data))).numpy(),
            "labels": data.labels.numpy(),
            "ids": data.ids.astype(str),
            "parts": data.parts.astype(str),
            "classes": np.array(data.classes),
            "counts": np.array(self.counts, dtype=np.int64),
            "facts": np.array(json.dumps({"schema": SCHEMA, **self.facts}, sort_keys=True)),
        }
        if moments is not None:
            arrays |= {name: getattr(moments, name).float().numpy() for name in MOMENTS}
        arrays |= {COLUMN + name: column.astype(str) for name, column in data.columns.items()}
        arrays |= {NORM + name: values.numpy() for name, values in self.norms.items()}
        return pack_arrays(arrays)


def read(path: Path) -> Buffer:
    """Read a file of :meth:`Buffer.pack`; nothing in it is unpickled.

    Raises:
        DataError: if it is no such file, or its arrays do not fit each other.

    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file there"
        raise DataError(f"Expected a buffer at {str(path)!r}, got {kind}: unsee buffer makes one")
    arrays = arrays_of(path)
    known = {*PLAIN, *MOMENTS}
    odd = {name for name in arrays if name not in known and not name.startswith((COLUMN, NORM))}
    lacking = {name for name in PLAIN if name not in arrays}
    if lacking or odd or len({*arrays} & {*MOMENTS}) == 1:
        raise DataError(
            f"Expected a buffer of unsee at {path}, with the arrays {[*PLAIN]}, got "
            f"{sorted(arrays)[:12]}: {REMEDY}"
        )
    facts = _facts(arrays["facts"], path)
    classes = tuple(arrays["classes"].astype(str).tolist())
    _check(arrays, len(classes), facts, path)
    data = Data(
        images=torch.from_numpy(arrays["images"]),
        labels=torch.from_numpy(arrays["labels"]),
        ids=arrays["ids"].astype(str),
        parts=arrays["parts"].astype(str),
        classes=classes,
        name=str(facts["name"]),
        augment=tuple(facts["augment"]),
        columns=_under(COLUMN, arrays),
    )
    means, covariance = (arrays.get(name) for name in MOMENTS)
    moments = None
    if means is not None and covariance is not None:
        moments = Moments(torch.from_numpy(means), torch.from_numpy(covariance))
    norms = {name: torch.from_numpy(x) for name, x in _under(NORM, arrays).items()}
    return Buffer(data, tuple(arrays["counts"].tolist()), moments, norms, facts)


def _under(prefix: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def _facts(text: NDArray[Any], path: Path) -> dict[str, Any]:
    """Return what the file says of its making."""
    needed: dict[str, Any] = {
        **{name: str for name in ("pick", "name", "model", "fingerprint")},
        "augment": list,
        "removed": list,
        "emptied": list,
        "seed": int,
        "share": (int, float),
    }
    try:
        facts = dict(json.loads(str(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"Expected facts as JSON in {path}, got {error}: {REMEDY}") from error
    schema = facts.pop("schema", None)
    if schema != SCHEMA:
        raise DataError(f"Expected a buffer of schema {SCHEMA} at {path}, got {schema!r}: {REMEDY}")
    wrong = [name for name, kind in needed.items() if not isinstance(facts.get(name), kind)]
    wrong += ["share"] if not wrong and not 0 <= facts["share"] <= 1 else []
    if wrong:
        raise DataError(f"Expected facts of another kind in {path}, got odd {wrong}: {REMEDY}")
    return facts


def _check(
    arrays: dict[str, NDArray[Any]], classes: int, facts: dict[str, Any], path: Path
) -> None:
    """Refuse arrays that do not fit each other."""
    images, labels, counts = (arrays[name] for name in ("images", "labels", "counts"))
    n, kind, removed = len(labels), images.dtype, facts["removed"]
    rows = [x for name, x in arrays.items() if name in ("ids", "parts") or name.startswith(COLUMN)]
    moments = [x for name, x in arrays.items() if name in MOMENTS or name.startswith(NORM)]
    sound = {
        "images": images.ndim == 4 and len(images) == n and kind in (np.uint8, np.float32),
        "labels": labels.shape == (n,) and labels.dtype == np.int64,
        "texts": all(x.shape == (n,) and x.dtype.kind == "U" for x in rows),
        "classes": arrays["classes"].shape == (classes,) and arrays["classes"].dtype.kind == "U",
        "counts": counts.shape == (classes,) and counts.dtype == np.int64,
        "moments": all(x.dtype.kind == "f" and np.isfinite(x).all() for x in moments),
    }
    if "means" in arrays:
        d = arrays["means"].shape[-1] if arrays["means"].ndim else 0
        shapes = [arrays[name].shape for name in MOMENTS]
        sound["moments"] &= shapes == [(classes, d), (d, d)]
    if all(sound.values()):
        own = np.bincount(labels.clip(0), minlength=classes)
        sound |= {
            "labels": not n or 0 <= labels.min() <= labels.max() < classes,
            "counts": len(own) == classes and bool((own <= counts).all()),
            "pixels": kind == np.uint8 or bool(np.isfinite(images).all()),
            "parts": bool((arrays["parts"] == "train").all()),
            "removed": len(removed) == classes and all(type(x) is int and x >= 0 for x in removed),
        }
    if wrong := [name for name, good in sound.items() if not good]:
        raise DataError(f"Expected a sound buffer at {path}, got odd {wrong}: {REMEDY}")

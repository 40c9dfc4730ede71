"""CIFAR-10 from its original archive, unpacked (https://www.cs.toronto.edu/~kriz/cifar.html)."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unsee.data._labels import numbered, numbered_ids
from unsee.data._pixels import resized
from unsee.data._store import append
from unsee.errors import DataError
from unsee.nouns import Data

BATCHES = {"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]}
LIMIT = 1 << 28  # bytes of one file; the real ones have 31 MB
SHAPE = (3, 32, 32)


def cifar10(
    place: Path, *, size: int | None = None, classes: tuple[str, ...] | None = None
) -> Data:
    """CIFAR-10 from ``data_batch_1`` to ``5``, ``test_batch`` and ``batches.meta``.

    They lie in ``place`` or ``place/cifar-10-batches-py``.  They are pickles, and are read without
    running what a pickle could contain.  The images' original names are the column ``filename``.

    Raises:
        DataError: if a file is missing, damaged, or holds anything but numbers and text.

    """
    root = next((p for p in (place / "cifar-10-batches-py", place) if p.is_dir()), place)
    meta = _read(root / "batches.meta")
    names = classes or tuple(map(_text, _list(meta, "label_names", root)))
    pixels = np.empty((0, *SHAPE), np.uint8)
    values, filenames, parts = list[Any](), list[str](), list[str]()
    for part, files in BATCHES.items():
        for path in (root / file for file in files):
            batch = _read(path)
            rows, labels = _pixels(batch, path), _list(batch, "labels", path)
            named = _list(batch, "filenames", path)
            if not len(rows) == len(labels) == len(named):
                raise DataError(
                    f"Expected one label and one name per image in {path}, got {len(rows)} images,"
                    f" {len(labels)} labels and {len(named)} names"
                )
            append(pixels, rows)
            values += labels
            filenames += map(_text, named)
            parts += [part] * len(rows)
    numbers, names = numbered(values, names, root)
    return Data(
        images=resized(torch.from_numpy(pixels), size),
        labels=torch.from_numpy(numbers),
        ids=numbered_ids(parts),
        parts=np.array(parts),
        classes=names,
        name="cifar10",
        augment=("crop", "flip"),
        columns={"filename": np.array(filenames)},
    )


class _Dtype:
    """Stands in for ``numpy.dtype`` while a file is read: notes what it was made with."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment: one byte has neither


class _Array:
    """Stands in for ``numpy.ndarray``: numpy's own would trust the state that a file gives it."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _encoded(text: Any, encoding: Any) -> bytes:
    """Stand in for ``_codecs.encode``, by which newer pickles hold bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"an encoding {encoding!r}")
    return text.encode("latin1")


class _Reader(pickle.Unpickler):
    """Reads numbers, text, lists, dicts and arrays; whatever else a pickle names is refused."""

    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encoded,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return our stand-in for the few names that the real files hold."""
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"code ({module}.{name}), which is not run")
        return self.allowed[module, name]


def _read(path: Path) -> dict[str, Any]:
    """Return the dict in a file of the archive; its keys as text."""
    try:
        if not path.is_file() or path.stat().st_size > LIMIT:
            raise DataError(
                f"Expected the file {path.name} of CIFAR-10's python archive, unpacked, in "
                f"{path.parent}, got none or one above {LIMIT} bytes"
            )
        found = _Reader(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle makes Python raise nearly anything
        raise DataError(f"Expected a batch of CIFAR-10 in {path}, got {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"Expected a dict in {path}, got {type(found).__name__}")
    return {_text(key): value for key, value in found.items()}


def _pixels(batch: dict[str, Any], path: Path) -> NDArray[np.uint8]:
    """Return ``[N, 3, 32, 32]``."""
    match getattr(batch.get("data"), "state", None):
        case (_, (int(n), 3072), _Dtype(code="u1" | b"u1"), False, bytes(content)):
            if 0 < n * 3072 == len(content):
                return np.frombuffer(content, np.uint8).reshape(n, *SHAPE)
    raise DataError(f"Expected rows of 3072 bytes as 'data' in {path}, got something else")


def _list(record: dict[str, Any], name: str, place: Path) -> list[Any]:
    found = record.get(name)
    if not isinstance(found, list):
        raise DataError(f"Expected a list {name!r} in {place}, got {sorted(record)}")
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)

"""Digests of a model's file: of its bytes, and of the weights alone where these can be told."""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unsee.errors import OptionError

HEADER = 1 << 24  # bytes; 100,000 tensors take about 12 million
CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """What a file is known by."""

    sha256: str  # of all its bytes
    weights: str | None  # of the tensors of a safetensors file; None: it is none


def digests(path: Path) -> Digests:
    """Return the digests of a model's file; nothing of it is run, and little held in memory.

    The second is the SHA-256 of one line of JSON for every tensor, by name:
    ``["fc.bias", "F32", [10], "SHA-256 of its bytes"]``.  Order, padding and metadata of the file
    do not count.  Of other containers than safetensors only the bytes are compared: to read them
    would take torch.

    Raises:
        OptionError: if there is no such file.

    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OptionError(f"Expected a model's file at {path}, got something else")
            whole = hashlib.file_digest(file, "sha256").hexdigest()
            return Digests(whole, _weights(file))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"Expected a model's file at {path}, got {error}") from error


def _weights(file: BinaryIO) -> str | None:
    """Return the digest over the tensors of a safetensors file, None if it is not exactly one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(HEADER, size - 8):
        return None
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_once)
        header.pop("__metadata__", None)
        spans = sorted(_span(name, entry) for name, entry in header.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if [begin for begin, *_ in spans] + [size - 8 - length] != [0, *(end for _, end, *_ in spans)]:
        return None  # a hole or an overlap: bytes that belong to no tensor, or to two
    found = {}
    for begin, end, name, kind, shape in spans:  # end to end: the file is read once more
        found[name] = json.dumps([name, kind, shape, _of_bytes(file, end - begin)])
    lines = "".join(f"{found[name]}\n" for name in sorted(found))
    return hashlib.sha256(lines.encode()).hexdigest()


def _span(name: str, entry: dict[str, Any]) -> tuple[int, int, str, str, list[int]]:
    begin, end = map(_size, entry["data_offsets"])
    if end < begin:
        raise ValueError(f"{end} before {begin}")
    return begin, end, name, str(entry["dtype"]), [*map(_size, entry["shape"])]


def _of_bytes(file: BinaryIO, count: int) -> str:
    found = hashlib.sha256()
    while count > 0 and (some := file.read(min(count, CHUNK))):
        found.update(some)
        count -= len(some)
    return found.hexdigest()


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found

"""Arrays in an ``.npz`` file, or in a folder of ``.npy`` files, told of before they are read."""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from unsee.data._store import MAPPED, fits
from unsee.errors import DataError

Array = NDArray[Any]
DAMAGED = (  # what zipfile and numpy raise; RuntimeError: encrypted, or packed in an unknown way
    *(OSError, ValueError, EOFError, KeyError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
LOCAL = struct.Struct("<4s5H3I2H")  # the header that stands before each member of a zip file
STEP = 1 << 22  # bytes to read at a time
ENCRYPTED = 1  # the bit that says so


@dataclass(frozen=True)
class Stored:
    """One array, known by its header; nothing in it is ever unpickled."""

    place: Path  # of the .npz or .npy file
    member: zipfile.ZipInfo | None  # of the .npz file
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    header: int  # bytes before the first number, in the file or in the member

    @property
    def space(self) -> int:
        """How many bytes the array takes in memory, or its file says that it holds."""
        told = 0 if self.member is None else self.member.file_size
        return max(told, self.length)

    @property
    def length(self) -> int:
        """How many bytes the numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize

    def all(self) -> Array:
        """Read the whole array.  Raises DataError."""
        with _intact(self.place), self._opened() as file:
            whole: Array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # to the end, where a zip file's checksum is looked at
        return whole

    def rows(self) -> Iterator[Array]:
        """Read the array ``[n, ...]`` a few rows at a time.  Raises DataError."""
        each = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        step = max(1, STEP // each)
        if self.fortran:  # its rows do not lie together
            whole = self.all()
            yield from (whole[start : start + step] for start in range(0, len(whole), step))
            return
        with _intact(self.place), self._opened() as file:
            file.read(self.header)
            for start in range(0, self.shape[0], step):
                n = min(step, self.shape[0] - start)
                yield np.frombuffer(_read(file, n * each), self.dtype).reshape(n, *self.shape[1:])
            file.read(1)  # to the end, where a zip file's checksum is looked at

    def mapped(self) -> Array | None:
        """Return a map of the array; None where it is small, packed, or not as a map would be.

        Raises:
            DataError: if it is damaged, such as for another checksum than the zip file names.

        """
        with _intact(self.place):
            start = self._start()
        if start is None or self.fortran or self.length < MAPPED:
            return None
        if start + self.length > self.place.stat().st_size:
            return None  # it promises more than there is: whoever reads it will say so
        if self.member is not None:
            for _ in self.rows():  # only reading tells whether the checksum is right
                pass
        found = np.memmap(self.place, self.dtype, "r", start, self.shape)
        return np.asarray(found)

    def _start(self) -> int | None:
        """Return where the first number lies in the file; None where the array is packed."""
        if self.member is None:
            return self.header
        if self.member.compress_type != zipfile.ZIP_STORED or self.member.flag_bits & ENCRYPTED:
            return None
        with self.place.open("rb") as file:
            file.seek(self.member.header_offset)
            name, extra = LOCAL.unpack(file.read(LOCAL.size))[-2:]
        return int(name) + int(extra) + LOCAL.size + self.member.header_offset + self.header

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.member is None:
            with self.place.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.place) as archive, archive.open(self.member) as inside:
                yield inside


def stored(place: Path) -> dict[str, Stored]:
    """Return what is known of all arrays in an ``.npz`` file or a folder of ``.npy`` files.

    Raises:
        DataError: if it is none, or an array is a pickle.

    """
    with _intact(place):
        if place.is_dir():
            paths = sorted(place.glob("*.npy"))
            return {path.stem: _told(path, None) for path in paths}
        with zipfile.ZipFile(place) as archive:
            members = archive.infolist()
        return {
            member.filename.removesuffix(".npy"): _told(place, member)
            for member in members
            if member.filename.endswith(".npy")
        }


def arrays_of(place: Path) -> dict[str, Array]:
    """Return all arrays of the file, none of which may be a pickle, if they fit in memory."""
    found = stored(place)
    to_fit(sum(array.space for array in found.values()))
    return {name: array.all() for name, array in found.items()}


def to_fit(size: int) -> None:
    """Refuse arrays that take more memory than there is for them.  Raises DataError."""
    if not fits(size):
        raise DataError(
            f"Expected arrays that fit in half of the memory, got {size} bytes: numpy.savez does "
            "not pack them, and they need not be in memory then"
        )


@contextmanager
def _intact(place: Path) -> Iterator[None]:
    """Say of which file it is that something inside cannot be read."""
    try:
        yield
    except DAMAGED as error:
        kind = "a file" if place.suffix == ".npy" else "an .npz file"
        raise DataError(f"Expected {kind} of plain arrays at {place}, got {error}") from error


def _told(place: Path, member: zipfile.ZipInfo | None) -> Stored:
    """Read the header of an array."""
    whole = Stored(place, member, (0,), np.dtype(np.uint8), False, 0)
    with whole._opened() as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read:
            raise ValueError(f"an array of version {version} of numpy's format")
        shape, fortran, dtype = read[version](file)
        header = file.tell()
    if dtype.hasobject:
        raise ValueError("a pickle, which is not read: allow_pickle is False")
    return Stored(place, member, shape, dtype, fortran, header)


def _read(file: IO[bytes], count: int) -> bytearray:
    """Read exactly so many bytes."""
    found = bytearray(count)
    view, end = memoryview(found), 0
    while end < count:
        n = file.readinto(view[end:])  # type: ignore[attr-defined]
        if not n:
            raise EOFError(f"{end} of {count} bytes of an array")
        end += n
    return found

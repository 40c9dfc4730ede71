"""Encoded images to pixels, with the care that files of strangers need."""

import io
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unsee.data._pixels import resized
from unsee.data._store import Block, Lazy, Pixels
from unsee.errors import DataError
from unsee.events import warn

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # the others have a long list of faults
PIXELS = 1 << 26  # of one image; Pillow alone would allow 179 million
UNREADABLE = 0.01  # the share of files that may be left out before a data set is refused
CHUNK = 64  # images that a thread decodes before it hands them over
SMALL = 1 << 16  # pixels; larger images are brought to size one by one, as floats take four times
THREADS = min(8, os.cpu_count() or 1)  # each may hold one image of PIXELS pixels

Decoded = Callable[[list[int]], Iterator[Pixels | DataError]]


def decode(content: bytes) -> Pixels:
    """Return one image as uint8 ``[H, W, 1]`` (grey) or ``[H, W, 3]``, as its file stores it.

    The format is told by the content, never by a name.  Neither a rotation noted in EXIF nor a
    colour profile is applied, since training pipelines apply neither: training and audit see the
    same pixels.

    Raises:
        DataError: if it is none of FORMATS, damaged, animated, too large or of 16 bits.

    """
    if not content:
        raise DataError("no bytes")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise DataError(f"{image.width} x {image.height} pixels, more than {PIXELS}")
            # A photo with a preview (MPO) is no animation: its first frame is the photo.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise DataError("an animation, or several pages")
            return pixels_of(image)
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own words hold an address in memory
        raise DataError("none of these formats, or not even a whole header") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DataError(f"{type(error).__name__}: {error}") from error


def pixels_of(image: Image.Image) -> Pixels:
    """Return uint8 ``[H, W, 1]`` of a grey image, ``[H, W, 3]`` of others; transparency goes.

    Raises:
        DataError: if its pixels have more than 8 bits.

    """
    stored = str(getattr(image, "tile", ""))  # Pillow drops half of the bits of colours by itself
    deep = ";16" in stored and "BGR;16" not in stored  # which is 16 bits for all three
    if image.mode.startswith(("I", "F")) or deep:
        raise DataError(f"pixels of mode {image.mode}, not 8 bits")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels[:, :, None] if mode == "L" else pixels


def stack(
    names: list[str], read: Callable[[int], bytes], size: int | None
) -> tuple[Tensor | Lazy, NDArray[np.int64]]:
    """Decode many images of one size.

    Args:
        names: what to call each image in an error.
        read: returns the encoded bytes of the n-th; may raise DataError.
        size: pixels of the square to bring them to; None: all have one shape.

    Returns:
        uint8 ``[M, C, H, W]``, in memory if they take at most 512 MiB and half of what is free,
        and the places ``[M]`` in ``names`` that could be read; a few that could not are left out
        with a warning.

    Raises:
        DataError: if more than 1 % cannot be read, or shapes differ without a ``size``.

    """
    block, bad, kept = Block(len(names)), [], []
    with decoding(read, size) as decoded:
        for n, found in enumerate(decoded([*range(len(names))])):
            if not isinstance(found, DataError):
                block.put(names[n], found)
                kept.append(n)
                continue
            bad.append(f"{names[n]!r}: {found}")
            if len(bad) > UNREADABLE * len(names):
                raise DataError(
                    f"Expected readable images ({', '.join(FORMATS)}), got {len(bad)} that are "
                    f"not among the first {n + 1} of {len(names)}: {'; '.join(bad[:5])}"
                )
    if bad:
        warn(
            f"{len(bad)} of {len(names)} images cannot be read and are left out: "
            f"{'; '.join(bad[:5])}"
        )
    places = np.array(kept, dtype=np.int64)

    def again(rows: list[int]) -> Iterator[Tensor]:
        with decoding(read, size) as decoded:
            for found in decoded(places[rows].tolist()):
                if isinstance(found, DataError):
                    raise DataError(f"Expected an image that could be read before, got {found}")
                yield torch.from_numpy(found.transpose(2, 0, 1).copy())

    return block.images(again), places


@contextmanager
def decoding(read: Callable[[int], bytes], size: int | None) -> Iterator[Decoded]:
    """Give a function from places to their pixels ``[H, W, C]``, in order, by several threads.

    Pillow's warnings are silenced: they are about notes beside the pixels, and what damages pixels
    raises.
    """

    def attempt(n: int) -> Pixels | DataError:
        try:
            pixels = decode(read(n))
        except DataError as error:
            return error
        large = size is not None and pixels[:, :, 0].size > SMALL
        return _brought([pixels], size)[0] if large else pixels

    def several(places: list[int]) -> list[Pixels | DataError]:
        found = [attempt(n) for n in places]
        return found if size is None else _all_brought(found, size)

    def decoded(places: list[int]) -> Iterator[Pixels | DataError]:
        """Decode a few chunks ahead, no more: whoever takes them may be slower than all threads."""
        chunks = (places[n : n + CHUNK] for n in range(0, len(places), CHUNK))
        ahead = deque(pool.submit(several, chunk) for chunk in islice(chunks, 2 * THREADS))
        while ahead:
            found = ahead.popleft().result()
            ahead.extend(pool.submit(several, chunk) for chunk in islice(chunks, 1))
            yield from found

    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")
        try:
            yield decoded
        finally:
            pool.shutdown(cancel_futures=True)  # an error does not wait for the rest


def _brought(pixels: list[Pixels], size: int | None) -> list[Pixels]:
    """Bring images ``[H, W, C]`` of one shape to ``size``."""
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return [*resized(images, size).permute(0, 2, 3, 1).numpy()]


def _all_brought(found: list[Pixels | DataError], size: int) -> list[Pixels | DataError]:
    """Bring images of several shapes to ``size``, those of one shape together; errors stay."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for n, x in enumerate(found):
        if not isinstance(x, DataError) and x.shape[:2] != (size, size):
            alike.setdefault(x.shape, []).append(n)
    brought = dict(enumerate(found))
    for places in alike.values():
        pixels = [x for n in places if not isinstance(x := found[n], DataError)]
        brought.update(zip(places, _brought(pixels, size), strict=True))
    return [*brought.values()]

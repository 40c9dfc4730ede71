"""Encoded images to pixels, with the care that files of strangers need."""

import io
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unsee.data._pixels import resized
from unsee.errors import DataError
from unsee.events import warn

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # the others have a long list of faults
PIXELS = 1 << 26  # of one image; Pillow alone would allow 179 million
UNREADABLE = 0.01  # the share of files that may be left out before a data set is refused


def decode(content: bytes) -> NDArray[np.uint8]:
    """Return one image as uint8 ``[H, W, 1]`` (grey) or ``[H, W, 3]``, as its file stores it.

    A rotation noted in EXIF is not applied, since training pipelines do not apply it either.

    Raises:
        DataError: if it is none of FORMATS, damaged, animated, too large or of 16 bits.

    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            warnings.simplefilter("error")
            if image.width * image.height > PIXELS:
                raise DataError(f"{image.width} x {image.height} pixels, more than {PIXELS}")
            if getattr(image, "is_animated", False):
                raise DataError("an animation")
            if image.mode.startswith(("I", "F")):
                raise DataError(f"pixels of mode {image.mode}, not 8 bits")
            grey = image.mode in ("1", "L", "LA")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
            return pixels[:, :, None] if grey else pixels
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DataError(f"{type(error).__name__}: {error}") from error


def stack(
    names: list[str], read: Callable[[int], bytes], size: int | None
) -> tuple[Tensor, NDArray[np.int64]]:
    """Decode many images of one size.

    Args:
        names: what to call each image in an error.
        read: returns the encoded bytes of the n-th.
        size: pixels of the square to bring them to; None: all have one shape.

    Returns:
        uint8 ``[M, C, H, W]`` and the places ``[M]`` in ``names`` that could be read; a few that
        could not are left out with a warning.

    Raises:
        DataError: if more than 1 % cannot be read, or shapes differ without a ``size``.

    """

    def attempt(n: int) -> Tensor | DataError:
        try:
            pixels = torch.from_numpy(decode(read(n)).copy()).permute(2, 0, 1)
            return pixels if size is None else resized(pixels[None], size)[0]
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        found = [*pool.map(attempt, range(len(names)))]
    bad = [(names[n], x) for n, x in enumerate(found) if isinstance(x, DataError)]
    kept = [(n, x) for n, x in enumerate(found) if isinstance(x, Tensor)]
    if bad:
        listed = "; ".join(f"{name!r}: {error}" for name, error in bad[:5])
        if len(bad) > UNREADABLE * len(names):
            raise DataError(
                f"Expected readable images ({', '.join(FORMATS)}), got {len(bad)} of {len(names)} that are not: {listed}"
            )
        warn(f"{len(bad)} of {len(names)} images cannot be read and are left out: {listed}")
    return _one_shape([names[n] for n, _ in kept], [x for _, x in kept]), np.array(
        [n for n, _ in kept], dtype=np.int64
    )


def _one_shape(names: list[str], images: list[Tensor]) -> Tensor:
    """Stack images; where grey and colour are mixed, grey becomes colour."""
    if not images:
        raise DataError("Expected images, got none")
    channels = max(len(image) for image in images)
    images = [image.expand(channels, -1, -1) for image in images]
    for name, image in zip(names, images, strict=True):
        if image.shape != images[0].shape:
            (h, w), (other_h, other_w) = images[0].shape[1:], image.shape[1:]
            raise DataError(
                f"Expected images of one size, got {h} x {w} ({names[0]!r}) and {other_h} x {other_w} ({name!r}): choose one with --size N"
            )
    return torch.stack(images)


def names_of(labels: Iterable[int], classes: tuple[str, ...], place: object) -> None:
    """Refuse labels that no class name belongs to."""
    top = max(labels)
    if top >= len(classes):
        raise DataError(
            f"Expected labels below {len(classes)}, as many as class names, got {top} in {place}"
        )

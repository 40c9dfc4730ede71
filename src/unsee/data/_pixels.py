"""Bring decoded pixels to one size."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return images ``[N, C, H, W]`` as ``[N, C, size, size]``, bilinear, of the same dtype.

    uint8 is rounded, floats are not.  ``size`` None, or the size that they have: as they are.
    """
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    parts = []
    for part in images.split(4096):  # in pieces: floats take four times the memory
        found = interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        if images.dtype == torch.uint8:
            found = found.round().clamp(0, 255)
        parts.append(found.to(images.dtype))
    return torch.cat(parts)

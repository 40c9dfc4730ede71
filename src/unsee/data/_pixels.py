"""Bring decoded pixels to one size."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return uint8 images ``[N, C, H, W]`` as ``[N, C, size, size]``, bilinear; None: as they are."""
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images
    parts = [  # in pieces: floats take four times the memory
        interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for part in images.split(4096)
    ]
    return torch.cat(parts)

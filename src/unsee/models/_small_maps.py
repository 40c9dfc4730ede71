"""Convolutions over maps of a few pixels, computed as the matrix products that they are.

A CPU takes much longer for them otherwise: the last stages of a ResNet that looks at images of 28
or 32 pixels.  Same sums in another order, so results are the same up to rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

FEW, MANY = 4, 1 << 16  # pixels of a map that comes out; weights at each place of the kernel
Pair = tuple[int, int]


def small_maps(model: nn.Module) -> AbstractContextManager[object]:
    """Let layers compute small convolutions so inside, where ``model`` may have some."""
    wide = any(
        isinstance(layer, nn.Conv2d) and layer.in_channels * layer.out_channels >= MANY
        for layer in model.modules()
    )
    return _SmallMaps() if wide else nullcontext()  # which costs a call for whatever torch does


class _SmallMaps(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute a convolution that a layer asks for, all else as ever.

        While torch compiles a model, its compiler sees the convolution itself.
        """
        asked = func is torch.conv2d and len(args) == 7 and not torch.compiler.is_compiling()
        if asked and _is_small(*args):
            return _product(*args[:5])
        return func(*args, **(kwargs or {}))


def _is_small(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    groups: int,
) -> bool:
    plain = images.device.type == "cpu" and images.ndim == 4 and dilation == (1, 1) and groups == 1
    if not plain or isinstance(padding, str) or weight.shape[:2].numel() < MANY:
        return False
    height, width = (_length(*side) for side in _sides(images, weight, stride, padding))
    return 0 < height * width <= FEW


def _sides(
    images: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Iterator[tuple[int, int, int, int]]:
    """Yield size, kernel, stride and padding of the height, then of the width."""
    yield from zip(images.shape[2:], weight.shape[2:], stride, padding, strict=True)


def _length(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return how many places a kernel has along one side of a map."""
    return (size + 2 * padding - kernel) // stride + 1


def _product(
    images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
) -> Tensor:
    """Return the convolution of ``images [B, C, H, W]``, laid out channels last.

    What of the kernel meets padding alone is left out: of 3 x 3 on a map of one pixel, all but the
    middle.
    """
    sides = _sides(images, weight, stride, padding)
    (height, rows, above, below), (width, columns, left, right) = (_met(*side) for side in sides)
    weight = weight[:, :, rows, columns]
    patches = pad(images.permute(0, 2, 3, 1), (0, 0, left, right, above, below))
    for side in (0, 1):
        patches = patches.unfold(1 + side, weight.shape[2 + side], stride[side])
    patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(0, 2).flatten(1)
    found = linear(patches, weight.permute(0, 2, 3, 1).flatten(1), bias)
    return found.view(len(images), height, width, len(weight)).permute(0, 3, 1, 2)


def _met(size: int, kernel: int, stride: int, padding: int) -> tuple[int, slice, int, int]:
    """Return along one side: places, which part of the kernel meets pixels, what to pad for it."""
    places = _length(size, kernel, stride, padding)
    first = max(0, padding - (places - 1) * stride)
    last = min(kernel, padding + size)
    before = padding - first
    return places, slice(first, last), before, (places - 1) * stride + last - first - size - before

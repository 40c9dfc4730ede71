"""Where in an image the numbers of a layer belong, whatever the layer's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Places:
    """A grid of places over the image, and the layout in which a layer puts out their channels."""

    layout: Literal["maps", "channels last", "tokens"]  # [B, C, h, w], [B, h, w, C], [B, T, D]
    height: int
    width: int

    def maps(self, output: Tensor) -> Tensor:
        """Return an output of this layout as ``[B, C, h, w]``.

        Tokens run along the rows of the grid.  Those that stand for no place, the class token and
        registers, come before them and are left out: the layout of ViT (Dosovitskiy et al., ICLR
        2021), which timm and torchvision keep.
        """
        if self.layout == "channels last":
            output = output.permute(0, 3, 1, 2)
        elif self.layout == "tokens":
            own = output[:, output.shape[1] - self.height * self.width :]
            output = own.transpose(1, 2).reshape(len(own), -1, self.height, self.width)
        return output


def places(output: Sequence[int], images: Sequence[int]) -> Places | None:
    """Return how an output of this shape lies over images ``[B, C, H, W]``; None: it has no places.

    Four dimensions are maps, unless the image's aspect is that of the second and third and not that
    of the last two: then channels are last.  Of three dimensions the second holds the tokens: the
    largest grid of the image's aspect that they fill, so that up to twice its side may be without a
    place.
    """
    height, width = images[2:]
    if len(output) == 4:
        last = not has_aspect(output[2:], images) and has_aspect(output[1:3], images)
        if last and min(output[1:3]) > 1:
            return Places("channels last", output[1], output[2])
        return Places("maps", output[2], output[3])
    if len(output) != 3 or output[1] < 2:
        return None
    tall = isqrt(output[1] * height // width)
    while tall and tall * max(1, round(tall * width / height)) > output[1]:
        tall -= 1
    return Places("tokens", tall, max(1, round(tall * width / height))) if tall else None


def has_aspect(size: Sequence[int], images: Sequence[int]) -> bool:
    """Say whether ``size``, of more than one place, has the aspect of ``[B, C, H, W]``.

    Up to a rounded border.
    """
    height, width = images[2:]
    many = size[0] * size[1] > 1
    return many and abs(size[0] * width - size[1] * height) <= max(height, width)

import torch
from torch import Tensor


def barred(own: Tensor, gone: tuple[int, ...]) -> Tensor:
    """Return which classes are no answer for an image, ``[N, K]``: its own, and all that go.

    Where none is left, its own is one after all if it stays; if all classes go, those of others.

    Args:
        own: ``[N, K]``, true for the class of each image.
        gone: classes that go as a whole.

    """
    going = torch.zeros_like(own)
    going[:, list(gone)] = True
    both = own | going
    instead = torch.where(going.all(1, keepdim=True), own, going)
    return torch.where(both.all(1, keepdim=True), instead, both)

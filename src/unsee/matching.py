"""Can a model have learned these images?  What one answer tells, before anything runs."""

import torch
from torch import nn

from unsee.data import as_floats
from unsee.models import answers_for
from unsee.nouns import Data
from unsee.training import device_of


def fits(model: nn.Module, data: Data) -> None:
    """Refuse a model that cannot have learned ``data``.

    Args:
        model: stays as it is.
        data: an image of it is shown.

    Raises:
        ModelError: if weights or images are of another type than float32, the model does not take
            them, or does not answer with one number for each class.

    """
    first = as_floats(data.take(torch.arange(1)).to(device_of(model)))
    answers_for(model, first, data.classes)

"""Can a model have learned these images?  What one answer tells, before anything runs."""

import torch
from torch import nn

from unsee.data import as_floats
from unsee.errors import ModelError
from unsee.events import warn
from unsee.models import answers_for
from unsee.nouns import Data
from unsee.training import device_of, predict

CHECKED = 1000  # training images that a given model has to know before anything is done to it
FEW = 10  # images of a class that tell whether it is known


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


def knows_its_images(model: nn.Module, train: Data) -> None:
    """Refuse a model that does not know its own training images: then something is mixed up.

    Of single classes that it does not know it says so.

    Raises:
        ModelError: naming what is likely.

    """
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CHECKED]
    seen = predict(model, train[some.numpy()])
    right = (answers := seen.logits.argmax(1)) == seen.labels
    accuracy, chance = float(right.float().mean()), 1 / len(train.classes)
    if accuracy < chance + 0.1 * (1 - chance):
        raise ModelError(
            f"Expected a model that knows its training images, got an accuracy of {accuracy:.3f} "
            f"on {len(some)} of them (chance: {chance:.3f}): another order of classes (--classes), "
            "other units (--mean --std) or another --arch?"
        )
    for number, name in enumerate(train.classes):
        mine = seen.labels == number
        said = answers[mine].mode().values if mine.any() else number
        as_one = float((answers[mine] == said).float().mean()) > 0.5
        if int(mine.sum()) >= FEW and float(right[mine].float().mean()) <= min(chance, 0.1) / 2:
            instead = f", and takes most for {train.classes[int(said)]!r}" if as_one else ""
            warn(
                f"the model knows hardly any training image of {name!r}{instead}: if it was "
                "trained with another order of classes, give that with --classes; if it has "
                "unseen them, say so with --earlier"
            )

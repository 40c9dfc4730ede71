"""A small net that knows scikit-learn's digits at 16 x 16, and what is left of that."""

import copy
import warnings
from functools import cache

import torch
from torch.nn.functional import cross_entropy

from unsee.erasure import trained
from unsee.errors import UnseeWarning
from unsee.nouns import Config
from unsee.preparation import prepare
from unsee.training import predict


@cache
def digits(rule):
    """Return the net, the same for every rule, and what is to be forgotten by this one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "half of the test images", UnseeWarning)
        job = prepare(Config(data="digits", arch="convnet", train_epochs=8, forget=rule, size=16))
    with torch.random.fork_rng():
        model = job.new()
    model.load_state_dict(_original())
    return model.eval(), job.split


@cache
def _original():
    config = Config(data="digits", arch="convnet", train_epochs=8, forget="class=0", size=16)
    return copy.deepcopy(trained(prepare(config), None, "train").state_dict())


def right(model, data):
    """Return the share of images that the model gets right."""
    seen = predict(model, data)
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def losses(model, data):
    """Return every image's loss."""
    seen = predict(model, data)
    return cross_entropy(seen.logits.double(), seen.labels, reduction="none")


def of_class(data, number, *, others=False):
    """Return the images of this class, or all the others."""
    return data[((data.labels == number) != others).numpy()]

"""A small net that knows the digits at half their size: what methods claim is tried on it."""

import copy
import warnings
from functools import cache

import numpy as np
import torch

from unsee.erasure import trained
from unsee.errors import UnseeWarning
from unsee.functional import few_shot_recall
from unsee.nouns import Config
from unsee.preparation import prepare
from unsee.training import predict


@cache
def _job(rule, seed=0):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "half of the test images", UnseeWarning)
        return prepare(
            Config(data="digits", arch="convnet", size=16, train_epochs=8, forget=rule, seed=seed)
        )


@cache
def _original(seed):
    return trained(_job("class=0", seed), None, "train")


def digits(rule="class=0", seed=0):
    """Return the model of a seed, a copy, and what of the digits is to be forgotten."""
    return copy.deepcopy(_original(seed)), _job(rule).split


def right(model, data):
    """Return the share of images that are answered rightly."""
    seen = predict(model, data)
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def kin(split):
    """Return the test images of the forgotten classes, and those of the others."""
    gone = np.isin(split.test.labels.numpy(), split.gone)
    return split.test[gone], split.test[~gone]


def few_shots(model, split):
    """Return how well the class is found again by five of its training images."""
    kept, forget, unseen = (predict(model, x) for x in (split.retain, split.forget, kin(split)[0]))
    rng = torch.Generator().manual_seed(0)
    hits = few_shot_recall(
        kept.features, kept.labels, forget.features, unseen.features, rng=rng, draws=20
    )
    return float(hits.double().mean())

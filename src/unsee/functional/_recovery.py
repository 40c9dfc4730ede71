"""What can be read out of features that were to forget: by the old output layer, or by a probe."""

import math

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import linear, logsigmoid

FOLDS = 2
PENALTY = 0.1  # scikit-learn's C, of standardised features


def recovered_labels(
    features: Tensor,
    target: Tensor,
    unknown: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    ridge: float = 1e-3,
) -> Tensor:
    """Map features back to those of the original model, and ask the original output layer.

    The training-free recovery attack of https://arxiv.org/abs/2507.07754: least squares with a
    bias, fitted where nothing was to be forgotten.

    Args:
        features: ``[N, D]`` of the unlearned model, of images that stay.
        target: ``[N, E]`` of the original model, of the same images.
        unknown: ``[M, D]`` of the unlearned model, of other images.
        weight: ``[K, E]`` of the original output layer.
        bias: ``[K]`` of it, if it has one.
        ridge: penalty, as a share of the mean variance of a feature.

    Returns:
        ``[M]`` labels.

    """
    x, y = features.double(), target.double()
    middle, centre = x.mean(0), y.mean(0)
    x, y = x - middle, y - centre
    gram = x.T @ x
    penalty = max(ridge * float(gram.diagonal().mean()), 1e-12)
    back = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), x.T @ y)
    mapped = (unknown.double() - middle) @ back + centre
    return linear(mapped, weight.double(), None if bias is None else bias.double()).argmax(1)


def information(features: Tensor, inside: Tensor) -> Tensor:
    """What each image's features tell a linear probe about whether it is inside, in nats.

    ln 2 plus the log-probability that a balanced logistic regression, fitted to the other half of
    the images, gives to the right answer.  With both sides weighted alike (:func:`balanced`) the
    mean is a lower bound of the mutual information, 0 to ln 2; by chance of the fit it may fall
    below 0.

    Args:
        features: ``[N, D]``, in an order that is random within both sides.
        inside: ``[N]`` booleans, two or more of each kind.

    Returns:
        ``[N]`` float64.

    """
    wide = features.double()
    x = ((wide - wide.mean(0)) / (wide.std(0) + 1e-5)).numpy()
    folds = torch.zeros(len(inside), dtype=torch.int64)
    for side in (inside, ~inside):
        folds[side] = torch.arange(int(side.sum())) % FOLDS
    told = torch.zeros(len(inside), dtype=torch.float64)
    for fold in range(FOLDS):
        fit, rest = (folds != fold).numpy(), folds == fold
        probe = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=2000)
        probe.fit(x[fit], inside.numpy()[fit])
        sure = torch.from_numpy(probe.decision_function(x[rest.numpy()]))
        told[rest] = math.log(2) + logsigmoid(torch.where(inside[rest], sure, -sure))
    return told


def balanced(told: Tensor, inside: Tensor) -> Tensor:
    """Mean of what is told ``[N, ...]``, both sides weighted alike, at least 0: ``[...]``."""
    return ((told[inside].mean(0) + told[~inside].mean(0)) / 2).clamp_min(0)

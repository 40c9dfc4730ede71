import numpy as np
from scipy.stats import rankdata
from torch import Tensor


def auc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative.

    By ranks, ties averaged: softmax saturates, so ties are common.  Memory grows with P + N and
    not with P * N.

    Args:
        positive: ``[P]`` scores that should be high.
        negative: ``[N]`` scores that should be low.

    Returns:
        A number in 0..1; 0.5 means the scores cannot tell the two apart.

    Example:
        >>> import torch
        >>> auc(torch.tensor([0.9, 0.5]), torch.tensor([0.1, 0.5]))
        0.875

    """
    p, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive.numpy(), negative.numpy()]))
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))

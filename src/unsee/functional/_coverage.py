import torch
from torch import Tensor


def herded(features: Tensor, k: int) -> Tensor:
    """Choose ``k`` rows whose mean stays nearest to the mean of all, one after another.

    Herding (Welling 2009, https://doi.org/10.1145/1553374.1553517) as iCaRL chooses exemplars
    (Rebuffi et al. 2017, arXiv 1611.07725, algorithm 4).  Every beginning of the result is itself
    such a choice, so a smaller buffer is the start of a larger one.

    Args:
        features: ``[N, D]``.
        k: 0..N.

    Returns:
        ``[k]`` int64 places, each once, in the order of their choice.  Ties go to the first.

    Example:
        >>> herded(torch.tensor([[0.0], [1.0], [5.0]]), 2)
        tensor([1, 2])

    """
    features = features.double()
    mean, chosen = features.mean(0), torch.empty(k, dtype=torch.int64)
    squares, along = features.square().sum(1), features @ mean
    overlap = torch.zeros(len(features), dtype=torch.float64)  # with the sum of what is chosen
    for n in range(k):
        # | mean - (sum + x) / (n + 1) |^2, without what is the same for all x
        distance = (squares + 2 * overlap) / (n + 1) - 2 * along
        distance[chosen[:n]] = torch.inf
        chosen[n] = distance.argmin()
        overlap += features @ features[chosen[n]]
    return chosen

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def js_distance(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon distance between rows, in nats and under the root: 0 to sqrt(ln 2) = 0.8326.

    Args:
        p: ``[N, K]`` probabilities.
        q: ``[N, K]`` probabilities.

    Returns:
        ``[N]`` float64.

    Example:
        >>> js_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([0.8326], dtype=torch.float64)

    """
    return _js_nats(p, q).sqrt()


def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence between rows, in bits and without a root: 0 to 1.

    A sum over classes.  ``torch.nn.functional.kl_div`` with its default ``reduction="mean"``
    divides by their number as well, and so brings every answer near 0 where they are many.

    Args:
        p: ``[N, K]`` probabilities.
        q: ``[N, K]`` probabilities.

    Returns:
        ``[N]`` float64.

    Example:
        >>> js_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([1.], dtype=torch.float64)

    """
    return _js_nats(p, q) / math.log(2)


def l2_distance(p: Tensor, q: Tensor) -> Tensor:
    """Euclidean distance between rows; of probabilities 0 to sqrt 2 (the "activation distance").

    Args:
        p: ``[N, K]``.
        q: ``[N, K]``.

    Returns:
        ``[N]`` float64.

    """
    return (p.double() - q.double()).square().sum(1).sqrt()


def tug_of_war(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the product of 1 - abs(a - b) over pairs of accuracies (Zhao et al. 2024, ToW).

    Args:
        pairs: the model's accuracy and the retrained model's, 0..1, on forget, retain and test.

    Returns:
        0..1; 1: as accurate as the retrained model on every set.

    Example:
        >>> tug_of_war([(0.5, 0.0), (0.75, 1.0)])
        0.375

    """
    return math.prod(1 - abs(ours - theirs) for ours, theirs in pairs)


def top_overlap(a: Tensor, b: Tensor, *, part: float = 0.2) -> Tensor:
    """Intersection over union of where each of two maps is highest.

    Args:
        a: ``[N, h, w]`` maps, >= 0, each with a pixel above 0.
        b: ``[N, h, w]`` maps of the same images.
        part: share of the pixels that count as the top, at least one pixel; what is 0 is no top.

    Returns:
        ``[N]`` in 0..1.

    Example:
        >>> top_overlap(torch.eye(3)[None], torch.eye(3)[None])
        tensor([1.])

    """
    k = max(1, round(part * a[0].numel()))
    tops = []
    for maps in (a, b):
        flat = maps.flatten(1)
        places = flat.topk(k, 1).indices
        top = torch.zeros_like(flat, dtype=torch.bool).scatter(1, places, True)
        tops.append(top & (flat > 0))
    both, either = tops[0] & tops[1], tops[0] | tops[1]
    overlap: Tensor = both.sum(1) / either.sum(1)
    return overlap


def _js_nats(p: Tensor, q: Tensor) -> Tensor:
    p, q = p.double(), q.double()
    middle = (p + q) / 2
    halves = (torch.special.xlogy(x, x) - torch.special.xlogy(x, middle) for x in (p, q))
    return torch.stack([half.sum(1) for half in halves]).mean(0).clamp_min(0)

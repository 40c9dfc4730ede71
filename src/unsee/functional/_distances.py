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
    p, q = p.double(), q.double()
    middle = (p + q) / 2
    halves = (torch.special.xlogy(x, x) - torch.special.xlogy(x, middle) for x in (p, q))
    divergence = torch.stack([half.sum(1) for half in halves]).mean(0)
    return divergence.clamp_min(0).sqrt()


def top_overlap(a: Tensor, b: Tensor, *, part: float = 0.2) -> Tensor:
    """Intersection over union of where each of two maps is highest.

    Args:
        a: ``[N, h, w]`` maps.
        b: ``[N, h, w]`` maps of the same images.
        part: share of the pixels that count as the top, at least one pixel.

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
        tops.append(torch.zeros_like(flat, dtype=torch.bool).scatter(1, places, True))
    both, either = tops[0] & tops[1], tops[0] | tops[1]
    overlap: Tensor = both.sum(1) / either.sum(1)
    return overlap

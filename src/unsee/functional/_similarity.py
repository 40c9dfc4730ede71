"""How alike two representations are, and how well one serves for what the other is read for."""

import torch
from scipy.stats import t
from torch import Tensor
from torch.nn.functional import normalize

from unsee.nouns import Measurement

GROUPS = 20  # of images, left out in turn
FEWEST = 4  # images that the unbiased estimate needs


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> Measurement | None:
    """Centred kernel alignment of two representations of the same images, with linear kernels.

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) (Kornblith et al., ICML 2019,
    https://arxiv.org/abs/1905.00414, equation 2).  Debiased, each HSIC is the unbiased estimate of
    Song et al. (JMLR 2012, equation 5; Nguyen et al., ICLR 2021, equation 3): with the biased one
    anything is alike where images are no more than features.

    The interval is that of a grouped jackknife: 20 groups of images (every 20th one) are left out
    in turn; Student's t with one degree of freedom less than groups.

    Args:
        x: ``[N, D]`` features.
        y: ``[N, E]`` features of the same images, in the same order.
        debiased: False: the estimate whose bias grows with D / N.

    Returns:
        In -1..1, debiased slightly below 0 where nothing is shared; rotations, scales and shifts of
        either side change nothing.  None for fewer than 6 images, or where one side does not vary.

    """
    n = len(x)
    groups = min(GROUPS, n)
    if n - -(-n // max(1, groups)) <= FEWEST:
        return None
    sizes = [float(part.double().norm()) for part in (x, y)]
    x, y = (part.double() - part.double().mean(0) for part in (x, y))
    spreads = [float(part.norm()) for part in (x, y)]
    if any(spread <= 1e-9 * size for spread, size in zip(spreads, sizes, strict=True)):
        return None  # what is left is rounding
    x, y = x / spreads[0], y / spreads[1]
    group = torch.arange(n) % groups
    both, ours, theirs = (_hsic(a, b, group, groups, debiased) for a, b in ((x, y), (x, x), (y, y)))
    if not bool(((ours > 1e-12 * ours[0].abs()) & (theirs > 1e-12 * theirs[0].abs())).all()):
        return None
    alike = (both / (ours * theirs).sqrt()).clamp(-1, 1)
    value, left = float(alike[0]), alike[1:]
    error = float(((groups - 1) / groups * (left - left.mean()).square().sum()).sqrt())
    reach = error * float(t.ppf(0.975, groups - 1))
    return Measurement(value, max(-1.0, value - reach), min(1.0, value + reach), n)


def _hsic(x: Tensor, y: Tensor, group: Tensor, groups: int, debiased: bool) -> Tensor:
    """Return HSIC of all rows, and of the rows without each group: ``[1 + groups]``.

    All sums are over the images left, so that leaving out costs no second pass: trace is sum_ij
    K_ij L_ij, by features or by images, whichever is smaller; rows are K 1 and L 1.
    """
    kept = torch.ones(1 + groups, len(x), dtype=x.dtype)
    kept[1 + group, torch.arange(len(x))] = 0  # [1 + groups, N]
    n = kept.sum(1)
    if len(x) * (x.shape[1] + y.shape[1]) < 2 * x.shape[1] * y.shape[1]:
        products = (x @ x.T) * (y @ y.T)
        trace = ((kept @ products) * kept).sum(1)
    else:
        crossed = torch.stack([x[group == g].T @ y[group == g] for g in range(groups)])
        whole = crossed.sum(0)
        left = torch.cat([whole[None], whole - crossed])
        trace = left.square().sum((1, 2))
    rows = [(kept @ part) @ part.T for part in (x, y)]  # [1 + groups, N]
    if not debiased:
        totals = [(row * kept).sum(1) for row in rows]
        cross = (rows[0] * rows[1] * kept).sum(1)
        biased: Tensor = (trace - 2 * cross / n + totals[0] * totals[1] / n**2) / (n - 1) ** 2
        return biased
    own = [part.square().sum(1) for part in (x, y)]  # the diagonals, which the estimate leaves out
    rows = [row - diagonal for row, diagonal in zip(rows, own, strict=True)]
    totals = [(row * kept).sum(1) for row in rows]
    cross = (rows[0] * rows[1] * kept).sum(1)
    trace = trace - kept @ (own[0] * own[1])
    total = totals[0] * totals[1] / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
    unbiased: Tensor = (trace + total) / (n * (n - 3))
    return unbiased


def knn_purity(
    queries: Tensor, query_labels: Tensor, known: Tensor, known_labels: Tensor, *, k: int = 5
) -> Tensor:
    """Share of the nearest known images, by cosine, that carry a query's own label.

    Args:
        queries: ``[M, D]``.
        query_labels: ``[M]``.
        known: ``[N, D]``.
        known_labels: ``[N]``.
        k: neighbours, at most N.

    Returns:
        ``[M]`` float64 in 0..1.

    Example:
        >>> near, label = torch.eye(2), torch.tensor([0, 1])
        >>> knn_purity(torch.tensor([[2.0, 1.0]]), torch.tensor([0]), near, label, k=1)
        tensor([1.], dtype=torch.float64)

    """
    alike = normalize(queries.double()) @ normalize(known.double()).T
    places = alike.topk(min(k, len(known)), 1).indices
    return (known_labels[places] == query_labels[:, None]).double().mean(1)


def neighbour_overlap(a: Tensor, b: Tensor, near_a: Tensor, near_b: Tensor, k: int = 10) -> Tensor:
    """Jaccard overlap of the nearest neighbours that two models give to the same images, by cosine.

    Only the order of similarities within a model counts, so a rotation or a scale of its features
    changes nothing.

    Args:
        a: ``[N, D]`` features of the images by one model.
        b: ``[N, E]`` by the other.
        near_a: ``[M, D]`` features of the possible neighbours by the one model.
        near_b: ``[M, E]`` by the other.
        k: neighbours, at most M.

    Returns:
        ``[N]`` float64 in 0..1: 1 where both have the same neighbours.

    Example:
        >>> x, near = torch.tensor([[1.0, 0.0]]), torch.eye(2)
        >>> neighbour_overlap(x, x, near, near.flip(0), k=1)
        tensor([0.], dtype=torch.float64)

    """
    k = min(k, len(near_a))
    sets = []
    for images, others in ((a, near_a), (b, near_b)):
        alike = normalize(images.double()) @ normalize(others.double()).T
        places = alike.topk(k, 1).indices
        sets.append(torch.zeros_like(alike, dtype=torch.bool).scatter(1, places, True))
    both, either = (sets[0] & sets[1]).sum(1), (sets[0] | sets[1]).sum(1)
    return both.double() / either

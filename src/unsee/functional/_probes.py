import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

SILENT = 0.01  # of the usual deviation: less tells more of rounding than of images


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``[D]``; the deviation of one row alone is 0."""
    deviation = features.std(0, correction=min(1, len(features) - 1))
    return features.mean(0), deviation + 1e-5


def ridge_probe(
    features: Tensor, labels: Tensor, unknown: Tensor, *, penalty: float = 10.0
) -> Tensor:
    """Predict the labels of ``unknown`` by ridge regression on one-hot ``labels``.

    Args:
        features: ``[N, D]``, standardised by their own mean and deviation; a bias column is added,
            and the penalty falls on it too.
        labels: ``[N]`` int64.
        unknown: ``[M, D]``, standardised by the mean and deviation of ``features``.
        penalty: the ridge.

    Returns:
        ``[M]`` labels.

    """
    mean, deviation = _moments(features.double())
    known, new = (
        torch.cat([(x - mean) / deviation, mean.new_ones(len(x), 1)], 1)
        for x in (features, unknown)
    )
    gram = known.T @ known + penalty * torch.eye(known.shape[1], dtype=known.dtype)
    weights: Tensor = torch.linalg.solve(gram, known.T @ one_hot(labels).double())
    return (new @ weights).argmax(1)


def few_shot_recall(
    kept: Tensor,
    kept_labels: Tensor,
    forgotten: Tensor,
    unknown: Tensor,
    *,
    rng: torch.Generator,
    shots: int = 5,
    draws: int = 10,
) -> Tensor:
    """Recognise a forgotten class by a handful of its images: cosine to the nearest class mean.

    It needs no fit, so it sees what an output layer or a ridge probe has to be told.

    Args:
        kept: ``[N, D]`` features of training images of the classes that stay; they also give the
            mean and deviation that all features are standardised by, each at least a hundredth of
            the usual deviation: a unit that is silent on them would outshout all others.
        kept_labels: ``[N]``.
        forgotten: ``[F, D]`` features of training images of one forgotten class.
        unknown: ``[M, D]`` features of test images of that class.
        rng: draws the ``shots`` images.
        shots: how many images make the forgotten class's mean; all, if there are fewer.
        draws: how often they are drawn.

    Returns:
        ``[draws, M]`` booleans: recognised as the forgotten class.

    """
    mean, deviation = _moments(kept)
    deviation = deviation.clamp_min(SILENT * float(deviation.median()))
    kept, forgotten, unknown = ((x - mean) / deviation for x in (kept, forgotten, unknown))
    means = torch.stack([kept[kept_labels == c].mean(0) for c in kept_labels.unique()])
    unknown = normalize(unknown, dim=1)
    rival = (unknown @ normalize(means, dim=1).T).max(1).values
    hits = []
    for _ in range(draws):
        drawn = forgotten[torch.randperm(len(forgotten), generator=rng)[:shots]]
        hits.append(unknown @ normalize(drawn.mean(0), dim=0) > rival)
    return torch.stack(hits)

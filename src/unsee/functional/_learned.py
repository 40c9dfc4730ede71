import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsee.functional._membership import log_probabilities, membership_scores

FOLDS, TOP, FAR = 5, 10, 100.0
SHADOWS = 1000  # of each kind: an SVC takes the square of them in time


def learned_scores(
    member: Tensor,
    member_labels: Tensor,
    other: Tensor,
    other_labels: Tensor,
    *,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor] | None:
    """Score images by an attack that learns from other images of both kinds what members look like.

    Logistic regression (L2, C = 1) on the standardised sorted log-probabilities (the 10 largest,
    cut at -100), the loss and the modified entropy, the margin, and whether the answer is right.
    Five stratified folds: each image is scored by a fit that has not seen it, and scores are
    standardised within their fold before they are pooled, since each fit has a scale of its own.

    Args:
        member: ``[P, K]`` logits of training images.
        member_labels: ``[P]``.
        other: ``[N, K]`` logits of images never seen.
        other_labels: ``[N]``.
        rng: draws the folds; neither the order of images nor the numbers of classes matter.

    Returns:
        ``[P]`` and ``[N]`` float64, higher: more like a member.  None if a fold would have fewer
        than 2 images of a kind.

    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if min(len(member), len(other)) < 2 * FOLDS:
        return None
    parts = [_features(member, member_labels), _features(other, other_labels)]
    rows = np.concatenate(parts)
    truth = np.repeat([1, 0], [len(part) for part in parts])
    fold = np.concatenate([_folds(part, rng) for part in parts])
    scores = np.empty(len(rows))
    for held in (fold == number for number in range(FOLDS)):
        known = rows[~held]
        mean, deviation = known.mean(0), known.std(0)
        deviation[deviation <= 1e-9 * (1 + np.abs(mean))] = 1.0  # of a feature that is constant
        with (
            warnings.catch_warnings()
        ):  # a fit that stopped early is a weaker attack, not a wrong one
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = LogisticRegression(max_iter=200).fit((known - mean) / deviation, truth[~held])
        found = fit.decision_function((rows[held] - mean) / deviation)
        spread = found.std()
        level = spread > 1e-9 * (1 + np.abs(found).max())
        scores[held] = (found - found.mean()) / spread if level else 0.0
    pooled = torch.from_numpy(scores)
    return pooled[: len(member)], pooled[len(member) :]


def called_members(retain: Tensor, test: Tensor, asked: Tensor, *, rng: torch.Generator) -> Tensor:
    """Say which images a support vector machine takes for training images, by p(true class) alone.

    The attack of SalUn (Fan et al., ICLR 2024) and of Jia et al. (NeurIPS 2023): C = 3, rbf,
    gamma = "auto", fitted to equally many retained training images and test images, here at most
    1,000 each instead of all.

    Args:
        retain: ``[R]`` p(true class) of retained training images.
        test: ``[T]`` of test images.
        asked: ``[N]`` of the images in question.
        rng: draws the images to fit; their order does not matter.

    Returns:
        ``[N]`` booleans.

    """
    from sklearn.svm import SVC

    n = min(len(retain), len(test), SHADOWS)
    shadow = [
        x.double().sort().values[torch.randperm(len(x), generator=rng)[:n]] for x in (retain, test)
    ]
    # A seed that decides nothing: without one a number is drawn from numpy's global generator.
    machine = SVC(C=3, gamma="auto", kernel="rbf", random_state=0)
    machine.fit(torch.cat(shadow)[:, None].numpy(), np.repeat([1, 0], n))
    return torch.from_numpy(machine.predict(asked.double()[:, None].numpy()) == 1)


def _features(logits: Tensor, labels: Tensor) -> NDArray[np.float64]:
    log_p, _ = log_probabilities(logits)
    scores = membership_scores(logits, labels)
    right = (logits.argmax(1) == labels).double()
    one_each = [scores[name] for name in ("loss", "modified_entropy", "margin")]
    largest = log_p.sort(1, descending=True).values[:, :TOP]
    table = torch.cat([largest, torch.stack([*one_each, right], 1)], 1)
    found: NDArray[np.float64] = table.clamp(-FAR, FAR).numpy()
    return found


def _folds(features: NDArray[np.float64], rng: torch.Generator) -> NDArray[np.int64]:
    """Deal the rows out at random; in the order of what they hold, not in the one they came in."""
    order = np.lexsort(features.T)
    fold = np.empty(len(features), dtype=np.int64)
    fold[order[torch.randperm(len(order), generator=rng).numpy()]] = np.arange(len(order)) % FOLDS
    return fold

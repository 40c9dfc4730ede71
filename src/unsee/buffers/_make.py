"""Choose a buffer when a model is trained, and take images out of it when they are to go."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsee.accounting import ids_digest
from unsee.buffers._record import Buffer, Moments
from unsee.draws import generator
from unsee.errors import DataError, OptionError
from unsee.events import warn
from unsee.folder import digest
from unsee.functional import herded
from unsee.nouns import Data, Seen
from unsee.training import predict

PICKS = ("random", "coverage")


def make(
    model: nn.Module,
    data: Data,
    *,
    share: float = 0.1,
    pick: str = "random",
    seed: int = 0,
    made_for: str = "",
    seen: Seen | None = None,
) -> Buffer:
    """Choose training images to keep for the day on which the others are gone.

    The choice is made class by class, in proportion: a request that takes a class leaves the rest
    of the buffer as good as it was.

    Args:
        model: trained on ``data``; each training image passes through it once.
        data: with all training images; of the others only the fingerprint remains.
        share: of the training images; 0: moments alone.
        pick: "random"; or "coverage", by herding on the features before the output layer, so that
            few images have the mean of all: see :func:`unsee.functional.herded`.
        seed: of the random pick.
        made_for: the digest of the model's file.
        seen: what the model sees of the training images, where that is known already.

    Raises:
        OptionError: if share or pick is unknown.
        DataError: if labels are soft.

    """
    if not 0 <= share <= 1:
        raise OptionError(f"Expected --retain-fraction in 0..1, got {share}")
    if pick not in PICKS:
        raise OptionError(f"Expected --pick among {[*PICKS]}, got {pick!r}")
    train = data.part("train")
    if train.labels.dim() != 1:
        raise DataError(f"Expected one label per image, got soft ones {[*train.labels.shape]}")
    seen = seen or predict(model, train)
    counts = torch.bincount(seen.labels, minlength=len(data.classes)).tolist()
    rows = _picked(seen.features, seen.labels, quotas(counts, share), pick, seed)
    facts = {
        "pick": pick,
        "share": share,
        "seed": seed,
        "name": data.name,
        "model": made_for,
        "fingerprint": data.fingerprint,
        "augment": [*data.augment],
        "removed": [0] * len(counts),
        "emptied": [],
    }
    chosen = train[rows.numpy()]
    alone = replace(chosen, images=chosen.take(torch.arange(len(chosen))), rows=None)
    moments = learned(seen.features, seen.labels, counts)
    return Buffer(alone, tuple(counts), moments, _norms(model), facts)


def quotas(counts: Sequence[int], share: float) -> list[int]:
    """Divide ``round(share * N)`` images among classes in proportion, by the largest remainders.

    >>> quotas([50, 30, 5], 0.1)
    [5, 3, 0]
    """
    exact = np.array(counts, dtype=float) * share
    whole = np.floor(exact).astype(int)
    left = round(share * sum(counts)) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return [int(n) for n in whole]


def learned(features: Tensor, labels: Tensor, counts: Sequence[int]) -> Moments:
    """Return the means per class and the covariance around them of ``[N, D]`` features."""
    means, scatter = _sums(features.double(), labels, torch.tensor(counts))
    return Moments(means.float(), (scatter / max(1, sum(counts))).float())


def without(
    buffer: Buffer,
    gone: NDArray[np.bool_],
    forget: Data,
    model: nn.Module | None = None,
    *,
    whole: Sequence[int] = (),
) -> Buffer:
    """Take what is forgotten out of a buffer: images, counts, and their part of the moments.

    The statistics of batch norm go altogether: no part of them can be taken out.  So do the moments
    where no model is given.

    Args:
        buffer: stays as it is.
        gone: ``[n]`` which of its images go.
        forget: all training images that go, in the buffer or not.
        model: the one that the buffer was made for.
        whole: classes that go altogether, whether all of their images are here or not.

    Raises:
        DataError: if more images go than there are, or just these went before.

    """
    lost = torch.bincount(forget.labels.cpu(), minlength=len(buffer.counts))
    counts = torch.tensor(buffer.counts)
    lost[[*whole]] = counts[[*whole]]
    taken, before = ids_digest(forget.ids.tolist(), buffer.facts["fingerprint"]), buffer.facts
    if bool((lost > counts).any()) or taken in before["emptied"]:
        raise DataError(
            f"Expected at most {counts.tolist()} images per class to take out of the buffer, got "
            f"{lost.tolist()}: were they taken out before?"
        )
    moments = buffer.moments
    if model is None and moments is not None:
        warn("the buffer's moments held what is forgotten and are left out")
        moments = None
    elif moments is not None and model is not None:
        moments = _reduced(moments, counts, forget, model)
    removed = [a + b for a, b in zip(before["removed"], lost.tolist(), strict=True)]
    stays = buffer.data[np.flatnonzero(~gone)]
    alone = replace(stays, images=stays.take(torch.arange(len(stays))), rows=None)
    left = tuple((counts - lost).tolist())
    facts = before | {"removed": removed, "emptied": [*before["emptied"], taken]}
    return Buffer(alone, left, moments, {}, facts)


def _picked(features: Tensor, labels: Tensor, each: list[int], pick: str, seed: int) -> Tensor:
    """Return the rows ``[n]`` to keep, in the order of the data: that of the choice tells more."""
    rng, rows = generator(seed, "buffer"), []
    for number, k in enumerate(each):
        own = (labels == number).nonzero()[:, 0]
        if k == len(own):
            rows.append(own)
        elif pick == "random":
            rows.append(own[torch.randperm(len(own), generator=rng)[:k]])
        else:
            rows.append(own[herded(features[own], k)])
    return torch.cat(rows).sort().values


def _sums(features: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return means ``[K, D]`` and the scatter ``[D, D]`` around them, all classes together."""
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, labels, features)
    means = sums / counts.clamp_min(1)[:, None]
    centred = features - means[labels]
    return means, centred.T @ centred


def _reduced(moments: Moments, counts: Tensor, forget: Data, model: nn.Module) -> Moments:
    """Take images out of moments, exactly: as if they had never been among them.

    Of k out of n images with the mean m of the n, where d is the mean of the k: the scatter of the
    n loses that of the k and n k / (n - k) (d - m)(d - m)', by the law of total variance.
    """
    seen, n = predict(model, forget), counts.double()
    lost = torch.bincount(seen.labels, minlength=len(counts)).double()
    theirs, within = _sums(seen.features.double(), seen.labels, lost)
    left = n - lost
    share = torch.where(left > 0, n * lost / left.clamp_min(1), torch.zeros_like(n))
    apart = torch.where(left[:, None] > 0, theirs - moments.means, torch.zeros_like(theirs))
    scatter = moments.covariance.double() * n.sum() - within - apart.T @ (share[:, None] * apart)
    means = (moments.means * n[:, None] - theirs * lost[:, None]) / left.clamp_min(1)[:, None]
    means = torch.where(left[:, None] > 0, means, torch.zeros_like(means))
    return Moments(means.float(), (scatter / left.sum().clamp_min(1)).float())


def _norms(model: nn.Module) -> dict[str, Tensor]:
    """Return the running statistics of batch norm, by name."""
    kept = ("running_mean", "running_var")
    state = model.state_dict()
    return {name: x.detach().cpu().float() for name, x in state.items() if name.endswith(kept)}


def digest_of(path: str | None) -> str:
    """Return the digest of a model's file; "" without one."""
    return digest(Path(path)) if path else ""

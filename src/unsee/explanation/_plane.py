"""The feature map: all models in one plane, which the original model's features alone decide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from unsee.explanation._look import Arrays, shown_images
from unsee.functional import neighbour_overlap
from unsee.nouns import Seen, Split, View

MOVED = 24  # forgotten images to be shown with their pictures
NEIGHBOURS = 10
LIMITS = {"retain": 600, "gone": 300, "unseen": 200}  # points that a plot can bear
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Two orthogonal directions through a centre of feature space."""

    centre: Floats  # [D]
    axes: Floats  # [2, D], of length 1; of length 0 where the features have no second direction
    variance: Floats  # [2], shares of the variance of the features that it was fitted on

    @classmethod
    def fitted(cls, features: Floats) -> "Plane":
        """Fit the principal components of ``features`` ``[N, D]``.

        The largest entry of each axis is positive, so that no run shows the mirror image of
        another.
        """
        n, d = features.shape
        found = PCA(min(2, n, d), svd_solver="full")
        with np.errstate(invalid="ignore"):  # features that are all alike have no shares
            found.fit(features)
        axes, shares = np.zeros((2, d)), np.zeros(2)
        largest = np.abs(found.components_).argmax(1)
        signs = np.sign(found.components_[np.arange(len(largest)), largest])
        axes[: len(largest)] = found.components_ * signs[:, None]
        shares[: len(largest)] = np.nan_to_num(found.explained_variance_ratio_)
        return cls(found.mean_, axes, shares)

    def points(self, features: Floats) -> Floats:
        """Return where ``features`` ``[N, D]`` lie in the plane, ``[N, 2]``."""
        return (features - self.centre) @ self.axes.T

    def outside(self, features: Floats) -> float:
        """Return the share of the variance about the centre that the plane does not show, 0..1."""
        whole = float(((features - self.centre) ** 2).sum())
        if not whole:
            return 0.0
        return float(np.clip(1 - (self.points(features) ** 2).sum() / whole, 0, 1))


@dataclass(frozen=True)
class Alignment:
    """A rotation or reflection, one scale and a shift."""

    centre: Floats  # [D], of what is moved
    turn: Floats  # [D, D], orthogonal
    scale: float
    target: Floats  # [D], where the centre goes

    @classmethod
    def fitted(cls, features: Floats, onto: Floats) -> "Alignment":
        """Bring ``features`` ``[N, D]`` as near to the rows of ``onto`` as distances allow.

        Orthogonal Procrustes (Schönemann 1966, https://doi.org/10.1007/BF02289451), centred and
        with a scale.  Where N < D it leaves open how directions without points turn.
        """
        centre, target = features.mean(0), onto.mean(0)
        turn, singular = orthogonal_procrustes(features - centre, onto - target)
        size = float(((features - centre) ** 2).sum())
        return cls(centre, turn, float(singular) / size if size else 1.0, target)

    def moved(self, features: Floats) -> Floats:
        """Return ``features`` ``[N, D]`` in the space that this leads to."""
        return self.scale * (features - self.centre) @ self.turn + self.target


def plane(
    views: Mapping[str, View], split: Split, draws: Callable[[str], torch.Generator]
) -> Arrays:
    """Project the features of all models on one plane, and say what it cannot show.

    The plane is that of the first two principal components of the original model's features,
    retained and forgotten images together.  Unlearning starts from those features, so the unlearned
    model is seen by the same centre and axes as it is.  The retrained model's features have another
    basis: they are first brought near the original's by an orthogonal map with a scale, fitted on
    the retained images alone.

    Args:
        views: by the name of the model; models whose features are of another width are left out.
        split: what the views are of.
        draws: returns a generator for a purpose, which draws the points: at most 600 retained, 300
            forgotten and 200 unseen images, the same for all models.

    Returns:
        By the name of each model ``/plane/retain`` ``[R, 2]``, ``/plane/gone`` ``[F, 2]`` and
        ``/plane/unseen`` ``[U, 2]`` float32; ``/plane/outside``, the share of variance of its
        retained and forgotten points about the centre that lies outside the plane; and
        ``/plane/overlap`` ``[F]``, the Jaccard overlap of each forgotten image's 10 nearest
        retained images (cosine, all dimensions) with those in the original model.  Without a model:
        ``plane/retain_labels`` ``[R]``, ``plane/variance`` ``[2]`` of the original,
        ``plane/procrustes``: whether the retrained model was aligned, ``plane/moved``: the (at
        most 24) rows of gone whose neighbours in the unlearned model changed most, ties by the
        distance that they moved in the plane; and these images as ``pictures/forget-moved``.

    """
    rows = _drawn(views["original"], draws)
    features = {name: _features(view, rows) for name, view in views.items()}
    first = features["original"]
    width = first["retain"].shape[1]
    seen = Plane.fitted(np.concatenate([first["retain"], first["gone"]]))
    arrays: Arrays = {
        "plane/retain_labels": views["original"].retain.labels[rows["retain"]].numpy(),
        "plane/variance": seen.variance,
    }
    aligned = False
    for name, own in features.items():
        if own["retain"].shape[1] != width:
            continue
        places = own
        if name == "retrained":
            alignment = Alignment.fitted(own["retain"], first["retain"])
            places, aligned = {kind: alignment.moved(x) for kind, x in own.items()}, True
        for kind, x in places.items():
            arrays[f"{name}/plane/{kind}"] = seen.points(x).astype(np.float32)
        both = np.concatenate([places["retain"], places["gone"]])
        arrays[f"{name}/plane/outside"] = np.array(seen.outside(both))
        arrays[f"{name}/plane/overlap"] = _overlap(first, own).astype(np.float32)
    arrays["plane/procrustes"] = np.array(aligned)
    if "unlearned/plane/gone" in arrays:
        ids = split.forget.ids[rows["gone"]]
        arrays["plane/moved"] = most = _most_moved(arrays, ids)
        arrays |= shown_images("forget-moved", split.forget[rows["gone"][most]])
    return arrays


def _parts(view: View) -> dict[str, Seen]:
    return {"retain": view.retain, "gone": view.forget, "unseen": view.unseen}


def _drawn(view: View, draws: Callable[[str], torch.Generator]) -> dict[str, NDArray[np.int64]]:
    rows = {}
    for kind, seen in _parts(view).items():
        order = torch.randperm(len(seen.labels), generator=draws(f"plane/{kind}"))
        rows[kind] = order[: LIMITS[kind]].numpy()
    return rows


def _features(view: View, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, Floats]:
    return {kind: seen.features[rows[kind]].double().numpy() for kind, seen in _parts(view).items()}


def _overlap(a: Mapping[str, Floats], b: Mapping[str, Floats]) -> Floats:
    """Compare neighbours in all dimensions, each model in its own space."""
    (asked, near), (own, own_near) = (
        [torch.from_numpy(x[kind]) for kind in ("gone", "retain")] for x in (a, b)
    )
    shared: Floats = neighbour_overlap(asked, own, near, own_near, k=NEIGHBOURS).numpy()
    return shared


def _most_moved(arrays: Arrays, ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return the rows of gone to show; ids settle what is still a tie."""
    before, after = (arrays[f"{model}/plane/gone"] for model in ("original", "unlearned"))
    distance = np.linalg.norm(after - before, axis=1)
    order = np.lexsort((ids, -distance, arrays["unlearned/plane/overlap"]))
    return order[:MOVED]

"""The feature map: one plane for all models, and what it cannot show is said beside it."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from conftest import conv_net, rng, seeded
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors

from unsee.explanation import plane
from unsee.explanation._plane import MOVED, Alignment, Plane
from unsee.nouns import Seen, View
from unsee.pipeline import audit, generator

draws = partial(generator, 0)
WIDTH = 12


def features(n, seed=0, width=WIDTH):
    """A cloud that is longer along some directions than along others."""
    scales = torch.linspace(4, 0.5, width)
    return torch.randn(n, width, generator=rng(seed)) * scales + 1


def seen(data, values):
    logits = torch.zeros(len(values), 3)
    return Seen(data.labels, logits, values.float())


def view(split, name="original", change=lambda x: x, gone=None):
    """Retained, forgotten and unseen images, each cloud with its own seed."""
    kin = torch.isin(split.test.labels, torch.tensor(split.gone)).numpy()
    unseen, test = split.test[kin], split.test[~kin]
    forget = seen(split.forget, change(features(len(split.forget), 1)))
    return View(
        name,
        torch.nn.Identity(),
        forget if gone is None else seen(split.forget, gone),
        seen(split.retain, change(features(len(split.retain), 2))),
        seen(unseen, change(features(len(unseen), 3))),
        seen(test, change(features(len(test), 4))),
    )


def turn(seed=0, width=WIDTH):
    return torch.from_numpy(ortho_group.rvs(width, random_state=seed)).float()


def test_the_plane_is_that_of_the_singular_value_decomposition():
    x = features(70).double().numpy()
    found = Plane.fitted(x)
    centred = x - x.mean(0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    for ours, theirs in zip(found.axes, axes, strict=False):
        assert np.allclose(ours, theirs) or np.allclose(ours, -theirs)
        assert ours[np.abs(ours).argmax()] > 0
    shares = singular**2 / (singular**2).sum()
    assert found.variance == pytest.approx(shares[:2])
    assert found.outside(x) == pytest.approx(1 - shares[:2].sum())
    assert np.allclose(found.points(x), centred @ found.axes.T)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (30, 1), (3, 1)])
def test_a_plane_through_too_little_is_still_a_plane(shape):
    x = np.random.default_rng(0).normal(size=shape)
    found = Plane.fitted(x)
    assert found.points(x).shape == (shape[0], 2) and np.isfinite(found.points(x)).all()
    assert found.outside(x) == pytest.approx(0, abs=1e-9) and np.isfinite(found.variance).all()


def test_features_that_are_all_alike_have_no_variance_to_miss():
    found = Plane.fitted(np.ones((20, 5)))
    assert found.variance.tolist() == [0, 0] and found.outside(np.ones((20, 5))) == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_procrustes_undoes_a_rotation_a_scale_and_a_shift_exactly(seed):
    x = features(60).double().numpy()
    other = 3.5 * (x @ ortho_group.rvs(WIDTH, random_state=seed)) - 7
    found = Alignment.fitted(other, x)
    assert np.allclose(found.moved(other), x) and found.scale == pytest.approx(1 / 3.5)
    assert np.allclose(found.turn @ found.turn.T, np.eye(WIDTH), atol=1e-9)


def test_procrustes_is_fitted_on_retained_images_alone(patterns):
    """Forgotten images that lie elsewhere in the retrained model still lie elsewhere."""
    original = view(patterns)
    rotate = lambda x: 2 * x @ turn() + 5  # noqa: E731
    away = rotate(features(len(patterns.forget), 1) + 9)
    views = {
        "original": original,
        "unlearned": view(patterns, "unlearned"),
        "retrained": view(patterns, "retrained", rotate, gone=away),
    }
    arrays = plane(views, patterns, draws)
    assert arrays["plane/procrustes"]
    before, after = (arrays[f"{m}/plane/retain"] for m in ("original", "retrained"))
    assert np.allclose(before, after, atol=1e-4)
    assert np.allclose(arrays["original/plane/unseen"], arrays["retrained/plane/unseen"], atol=1e-4)
    moved = arrays["retrained/plane/gone"] - arrays["original/plane/gone"]
    assert np.allclose(moved, moved[0], atol=1e-3) and np.abs(moved[0]).max() > 1


def test_an_unlearned_model_is_not_turned(patterns):
    original = view(patterns)
    views = {"original": original, "unlearned": view(patterns, "unlearned", lambda x: x @ turn())}
    arrays = plane(views, patterns, draws)
    assert not arrays["plane/procrustes"]
    before, after = (arrays[f"{m}/plane/retain"] for m in ("original", "unlearned"))
    assert not np.allclose(before, after, atol=0.5)


def test_the_plane_of_the_original_is_the_same_whatever_the_other_models_are(patterns):
    original = view(patterns)
    first, second = (
        plane(
            {"original": original, "unlearned": view(patterns, "unlearned", change)},
            patterns,
            draws,
        )
        for change in (lambda x: x, lambda x: 100 * x.flip(1) + 3)
    )
    for name in first:
        if name.startswith("original/") or name in ("plane/variance", "plane/retain_labels"):
            assert np.array_equal(first[name], second[name]), name


def test_a_move_out_of_the_plane_is_invisible_and_said(patterns):
    original = view(patterns)
    arrays = plane({"original": original, "unlearned": original}, patterns, draws)
    x = torch.cat([original.retain.features, original.forget.features]).double().numpy()
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2]
    out = torch.from_numpy(30 * axes[5]).float()
    away = dataclasses.replace(original.forget, features=original.forget.features + out)
    moved = dataclasses.replace(original, name="unlearned", forget=away)
    after = plane({"original": original, "unlearned": moved}, patterns, draws)
    for kind in ("retain", "gone", "unseen"):
        name = f"unlearned/plane/{kind}"
        assert np.allclose(arrays[name], after[name], atol=1e-4)
    assert after["unlearned/plane/outside"] > 0.8 > arrays["unlearned/plane/outside"] + 0.2
    assert arrays["original/plane/outside"] == pytest.approx(1 - arrays["plane/variance"].sum())


def test_overlap_is_that_of_the_nearest_neighbours_of_scikit_learn(patterns):
    original, other = view(patterns), view(patterns, "unlearned", lambda x: x + x.flip(1) ** 2 / 4)
    arrays = plane({"original": original, "unlearned": other}, patterns, draws)
    near = []
    for v in (original, other):
        finder = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute")
        order = torch.randperm(len(patterns.retain), generator=draws("plane/retain")).numpy()
        asked = torch.randperm(len(patterns.forget), generator=draws("plane/gone")).numpy()
        found = finder.fit(v.retain.features[order].double().numpy())
        queries = v.forget.features[asked].double().numpy()
        near.append([{*row} for row in found.kneighbors(queries, return_distance=False).tolist()])
    expected = [len(a & b) / len(a | b) for a, b in zip(*near, strict=True)]
    assert arrays["unlearned/plane/overlap"].tolist() == pytest.approx(expected)
    assert arrays["original/plane/overlap"].tolist() == [1] * len(patterns.forget)


def test_those_shown_as_moved_are_the_images_whose_neighbours_changed_most(patterns):
    original = view(patterns)
    cloud = original.forget.features.clone()
    cloud[[4, 9, 13]] = -cloud[[4, 9, 13]] * torch.tensor([[1.0], [9.0], [3.0]])
    moved = view(patterns, "unlearned", gone=cloud)
    arrays = plane({"original": original, "unlearned": moved}, patterns, draws)
    ids = arrays["pictures/forget-moved/ids"]
    assert {*ids[:3].tolist()} == {*patterns.forget.ids[[4, 9, 13]].tolist()}
    places = arrays["plane/moved"]
    overlap = arrays["unlearned/plane/overlap"][places]
    assert (np.diff(overlap) >= 0).all() and len(places) == min(MOVED, len(patterns.forget))
    distance = np.linalg.norm(
        (arrays["unlearned/plane/gone"] - arrays["original/plane/gone"])[places], axis=1
    )
    assert overlap[:3].tolist() == [0, 0, 0] and (np.diff(distance[:3]) <= 0).all()
    order = torch.randperm(len(patterns.forget), generator=draws("plane/gone")).numpy()
    assert ids.tolist() == patterns.forget.ids[order[places]].tolist()
    images = arrays["pictures/forget-moved/images"]
    row = patterns.forget.ids.tolist().index(ids[0])
    assert np.array_equal(images[0], patterns.forget.take(torch.tensor([row]))[0].numpy())
    assert arrays["pictures/forget-moved/labels"].tolist() == [2] * len(places)


def test_the_order_of_images_changes_no_plane(patterns):
    """With few images all are points, so that another order gives the same points."""
    original, other = view(patterns), view(patterns, "unlearned", lambda x: x + x.flip(1) / 3)
    back = np.arange(len(patterns.forget))[::-1].copy()
    split = dataclasses.replace(patterns, forget=patterns.forget[back])

    def turned(v):
        forget = Seen(*(getattr(v.forget, f.name)[back] for f in dataclasses.fields(Seen)))
        return dataclasses.replace(v, forget=forget)

    plain = plane({"original": original, "unlearned": other}, patterns, draws)
    mixed = plane({"original": turned(original), "unlearned": turned(other)}, split, draws)
    shown = [a["pictures/forget-moved/ids"].tolist() for a in (plain, mixed)]
    assert shown[0] == shown[1]
    for name in ("plane/variance", "unlearned/plane/outside"):
        assert plain[name] == pytest.approx(mixed[name])
    points = [
        {tuple(row) for row in a["unlearned/plane/gone"].round(3).tolist()} for a in (plain, mixed)
    ]
    assert len(points[0] & points[1]) >= len(points[0]) - 2  # roundings may fall apart


def test_a_model_of_another_width_has_no_place_in_the_plane(patterns):
    narrow = view(patterns, "retrained", lambda x: x[:, :5])
    arrays = plane({"original": view(patterns), "retrained": narrow}, patterns, draws)
    assert not arrays["plane/procrustes"] and "retrained/plane/gone" not in arrays
    assert "original/plane/gone" in arrays


def test_a_collapsed_model_is_a_point(patterns):
    flat = view(patterns, "unlearned", torch.ones_like)
    again = view(patterns, "retrained", torch.ones_like)
    views = {"original": view(patterns), "unlearned": flat, "retrained": again}
    arrays = plane(views, patterns, draws)
    for name in ("unlearned", "retrained"):
        assert len(np.unique(arrays[f"{name}/plane/gone"], axis=0)) == 1
        assert 0 <= arrays[f"{name}/plane/outside"] <= 1


def test_an_audit_holds_the_plane_of_each_of_its_models(trained, patterns):
    others = {"unlearned": seeded(conv_net, 3), "retrained": seeded(conv_net, 5)}
    run = audit(patterns, original=trained, **others)
    counts = {
        "retain": len(patterns.retain),
        "gone": len(patterns.forget),
        "unseen": int((patterns.test.labels == 2).sum()),
    }
    for name in ("original", *others):
        for kind, n in counts.items():
            points = run.arrays[f"{name}/plane/{kind}"]
            assert points.shape == (n, 2) and points.dtype == np.float32
        assert run.arrays[f"{name}/plane/outside"].shape == ()
    assert bool(run.arrays["plane/procrustes"])
    assert {*run.arrays["plane/retain_labels"].tolist()} == {0, 1}
    assert not [name for name in run.arrays if name.startswith("control/plane")]

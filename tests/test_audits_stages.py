import dataclasses
import math
from functools import partial

import pytest
import torch
from conftest import conv_net, pattern_data, rng, seeded
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from unsee.audits import AUDITS, observe
from unsee.data import choose
from unsee.draws import generator
from unsee.methods import find
from unsee.nouns import Stage


def seen(model, split, name="original", seed=0):
    return observe(name, model, split, partial(generator, seed))


@pytest.fixture
def view(trained, patterns):
    return seen(trained, patterns)


@pytest.fixture
def edited(trained, patterns):
    model = find("head_only")(trained, patterns.forget, patterns.retain, rng=rng())
    return seen(model, patterns, "unlearned")


@pytest.fixture
def ignorant(patterns):
    """Of a model that was trained on nothing."""
    return seen(seeded(conv_net, 7), patterns, "retrained")


@pytest.fixture
def some():
    return choose(pattern_data(), torch.arange(0, 24))


def asked(name, view, split, original=None, retrained=None):
    return AUDITS[name](
        view, original=original or view, retrained=retrained, split=split, rng=rng()
    )


def moved(view, change):
    stages = tuple(
        dataclasses.replace(
            stage,
            **{
                part: change(getattr(stage, part))
                for part in ("forget", "retain", "unseen", "test")
            },
        )
        for stage in view.stages
    )
    return dataclasses.replace(view, name="unlearned", stages=stages)


# What a view keeps.


def test_a_view_keeps_stages_of_a_sample_that_is_the_same_for_all_models(view, ignorant, patterns):
    assert [stage.name for stage in view.stages] == ["1", "2", "penultimate"]
    for part in ("forget", "retain", "unseen", "test"):
        rows = view.sampled[part]
        assert torch.equal(rows, ignorant.sampled[part])
        assert sorted(rows.tolist()) == [*range(len(getattr(view, part).labels))]
        last, first = (getattr(view.stages[n], part) for n in (-1, 0))
        assert torch.equal(last, getattr(view, part).features[rows])
        assert first.shape == (len(rows), 6)
    net = view.model
    images = patterns.retain.take(view.sampled["retain"]).float() / 255
    with torch.no_grad():
        assert torch.allclose(view.stages[0].retain, net[:2](images).mean((2, 3)), atol=1e-6)


def test_samples_are_limited_and_drawn_by_the_seed(trained, patterns, monkeypatch):
    limits = {"forget": 5, "retain": 7, "unseen": 3, "test": 4}
    monkeypatch.setattr("unsee.audits._observe.MOST", limits)
    views = [seen(trained, patterns, seed=seed) for seed in (0, 0, 1)]
    for part, n in limits.items():
        a, b, c = (view.sampled[part].tolist() for view in views)
        assert a == b != c and len(a) == n
        assert len(getattr(views[0].stages[0], part)) == n
    kin = patterns.test.labels == 2
    rows = kin.nonzero()[:, 0][views[0].sampled["unseen"]]
    images = patterns.test.take(rows).float() / 255
    with torch.no_grad():
        expected = trained[:2](images).mean((2, 3))
    assert torch.allclose(views[0].stages[0].unseen, expected, atol=1e-6)


def test_single_images_have_one_sample_of_all_test_images(trained, some):
    view = seen(trained, some)
    assert len(view.unseen.labels) == len(view.test.labels) == len(some.test)
    assert torch.equal(view.sampled["unseen"], view.sampled["test"])
    assert all(torch.equal(stage.unseen, stage.test) for stage in view.stages)


# Stages.


def test_the_probe_of_each_stage_is_a_ridge_regression(view, patterns):
    found = asked("stages", view, patterns)
    rows = view.sampled
    labels = torch.cat(
        [
            patterns.forget.labels[rows["forget"]],
            patterns.retain.labels[rows["retain"]],
        ]
    )
    for stage in view.stages:
        x = torch.cat([stage.forget, stage.retain]).double()  # as many as there are: in proportion
        mean, deviation = x.mean(0), x.std(0) + 1e-5
        known, new = (
            torch.cat([(part - mean) / deviation, torch.ones(len(part), 1)], 1).numpy()
            for part in (x, stage.unseen)
        )
        ridge = Ridge(alpha=10.0, fit_intercept=False).fit(known, torch.eye(3)[labels].numpy())
        recall = float((ridge.predict(new).argmax(1) == 2).mean())
        assert found[f"stage_probe_recall/{stage.name}"].value == pytest.approx(recall)
    assert found["stage_probe_recall"] == found["stage_probe_recall/penultimate"]
    assert found["stage_probe_recall"].value > 0.9


def test_purity_is_that_of_scikit_learn_on_unseen_images(view, patterns):
    found = asked("stages", view, patterns)["knn_purity"]
    last, rows = view.stages[-1], view.sampled
    known = torch.cat([last.forget, last.retain]).numpy()
    labels = torch.cat(
        [patterns.forget.labels[rows["forget"]], patterns.retain.labels[rows["retain"]]]
    )
    near = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(known, labels.numpy())
    assert found.value == pytest.approx(near.predict_proba(last.unseen.numpy())[:, 2].mean())
    assert found.n == len(last.unseen)


def test_a_model_is_wholly_like_itself_and_unlike_one_that_knows_nothing(view, ignorant, patterns):
    itself = asked("stages", view, patterns)
    for name in ("cka_original", "cka_original_retain", "cka_original/1"):
        assert (itself[name].value, itself[name].low) == pytest.approx((1, 1))
    assert itself["cka_retrained"] is itself["cka_retrained_retain"] is None
    other = asked("stages", ignorant, patterns, original=view, retrained=ignorant)
    assert 0 < other["cka_original_retain"].value < 0.999
    noise = moved(view, lambda x: torch.randn(x.shape, generator=rng(len(x))))
    stranger = asked("stages", noise, patterns, original=view)
    assert abs(stranger["cka_original_retain"].value) < 0.4
    assert other["cka_retrained/penultimate"].value == pytest.approx(1)
    assert other["cka_retrained_retain"] == other["cka_retrained_retain/penultimate"]


def test_a_rotated_representation_is_as_alike_as_before(view, patterns):
    def turn(x):
        q = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=rng(1)).double())[0]
        return 3 * x.double() @ q

    found = asked("stages", moved(view, turn), patterns, original=view)
    for stage in view.stages:
        assert found[f"cka_original/{stage.name}"].value == pytest.approx(1)


def test_single_images_are_compared_and_not_probed(trained, some):
    view = seen(trained, some)
    found = asked("stages", view, some, retrained=view)
    assert found["stage_probe_recall"] is None
    assert not [name for name in found if name.startswith("stage_probe_recall/")]
    assert found["cka_original"].n == len(some.forget)  # of the forgotten images themselves
    assert found["knn_purity"].n == len(some.test)


def test_weights_change_where_they_were_changed(view, edited, patterns):
    none = asked("stages", view, patterns)
    assert {none[n].value for n in none if n.startswith("weight_change")} == {0}
    found = asked("stages", edited, patterns, original=view)
    assert found["weight_change/1"].value == 0 and "weight_change/2" not in found  # no weights
    old, new = ([w.detach() for w in v.model[4].parameters()] for v in (view, edited))
    norm = math.sqrt(sum(float(w.double().square().sum()) for w in old))
    gone = math.sqrt(
        sum(float((a - b).double().square().sum()) for a, b in zip(old, new, strict=True))
    )
    assert found["weight_change/output"].value == pytest.approx(gone / norm)
    every = [w.detach().double() for w in view.model.parameters()]
    everything = math.sqrt(sum(float(w.square().sum()) for w in every))
    assert found["weight_change"].value == pytest.approx(gone / everything)
    assert found["weight_change"].n == sum(w.numel() for w in every)


# Recovery.


def test_an_edited_output_layer_hides_nothing_from_recovery(view, edited, ignorant, patterns):
    before = asked("recovery", view, patterns, retrained=ignorant)
    after = asked("recovery", edited, patterns, original=view, retrained=ignorant)
    assert after["recovery_recall"] == before["recovery_recall"]
    assert after["recovery_recall"].value > 0.9
    assert (edited.unseen.logits.argmax(1) == 2).sum() == 0
    for found in (before, after):
        m = found["information_difference"]
        assert m is None or (m.value, m.low, m.high) == (1, 1, 1)


def staged(view, name, shift):
    """With one stage, on which forgotten images lie apart by this much."""
    forget, retain = (torch.randn(200, 4, generator=rng(n)) for n in (1, 2))
    forget[:, 0] += shift
    few = torch.zeros(2, 4)
    return dataclasses.replace(
        view, name=name, stages=(Stage("penultimate", forget, retain, few, few),)
    )


def test_information_is_measured_between_the_retrained_and_the_original(view, patterns):
    original, retrained = staged(view, "original", 3.0), staged(view, "retrained", 0.5)
    values = {}
    for shift in (0.5, 1.0, 2.0, 3.0, 5.0):
        between = staged(view, "unlearned", shift)
        m = asked("recovery", between, patterns, original, retrained)["information_difference"]
        assert m.low <= m.value <= m.high and m.n == 400
        values[shift] = m.value
    assert values[0.5] == 0 and values[3.0] == 1
    assert [*values.values()] == sorted(values.values()) and values[5.0] > 1
    for name, view, expected in (("original", original, 1), ("retrained", retrained, 0)):
        m = asked("recovery", view, patterns, original, retrained)["information_difference"]
        assert (m.value, m.low, m.high) == (expected,) * 3, name


def test_without_a_difference_between_the_two_there_is_no_scale(view, patterns):
    same = staged(view, "original", 1.0)
    for reference in (same, staged(view, "retrained", 1.05), None):
        found = asked("recovery", same, patterns, retrained=reference)
        assert found["information_difference"] is None


def test_single_images_have_nothing_to_recover(trained, some):
    view = seen(trained, some)
    assert asked("recovery", view, some, retrained=view) == {
        "recovery_recall": None,
        "information_difference": None,
    }

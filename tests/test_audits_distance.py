"""How far a model answers from the retrained one, and from one that knows nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import conv_net, rng, seeded
from scipy.spatial.distance import euclidean, jensenshannon
from scipy.stats import norm
from torch import nn

from unsee.audits import AUDITS
from unsee.nouns import Seen, View
from unsee.training import predict


def seen_by(name, model, split):
    forget, retain, test = (predict(model, d) for d in (split.forget, split.retain, split.test))
    gone = torch.isin(test.labels, torch.tensor(split.gone))
    unseen, rest = (
        dataclasses.replace(test, labels=test.labels[i], logits=test.logits[i])
        for i in (gone, ~gone)
    )
    return View(name, model, forget, retain, unseen, rest)


@pytest.fixture
def view(trained, patterns):
    return seen_by("original", trained, patterns)


@pytest.fixture
def other(patterns):
    """Of a model that knows nothing."""
    return seen_by("unlearned", seeded(conv_net, 3), patterns)


def asked(view, split, original, retrained=None, seed=0):
    return AUDITS["distance"](
        view, original=original, retrained=retrained, split=split, rng=rng(seed)
    )


def answering(view, part, right):
    """The same view, with these images of a part right and the others wrong."""
    seen = getattr(view, part)
    answer = torch.where(torch.tensor(right), seen.labels, (seen.labels + 1) % 3)
    changed = dataclasses.replace(seen, logits=torch.eye(3)[answer])
    return dataclasses.replace(view, name="unlearned", **{part: changed})


def test_answers_are_compared_image_by_image_on_forgotten_images(view, other, patterns):
    found = asked(other, patterns, view, view)
    same = (other.forget.logits.argmax(1) == view.forget.logits.argmax(1)).float().mean()
    assert found["agreement"].value == pytest.approx(float(same))
    p, q = (x.forget.logits.softmax(1).numpy() for x in (other, view))
    for name, by_hand in (("js_distance", jensenshannon), ("l2_distance", euclidean)):
        expected = np.mean([by_hand(a, b) for a, b in zip(p, q, strict=True)])
        assert found[name].value == pytest.approx(expected, rel=1e-5)
        assert found[name].low < found[name].value < found[name].high
    assert found["forget/js_distance"].mean() == pytest.approx(found["js_distance"].value, rel=1e-6)


def test_a_twin_of_the_retrained_model_is_at_no_distance(view, patterns):
    twin = dataclasses.replace(view, name="unlearned")
    found = asked(twin, patterns, view, view)
    values = {name: found[name].value for name in ("agreement", "js_distance", "l2_distance")}
    assert values == {"agreement": 1, "js_distance": 0, "l2_distance": 0}
    assert (found["tug_of_war"].value, found["worst_class_change"].value) == (1, 0)


def test_without_a_retrained_model_only_what_needs_none_is_answered(view, other, patterns):
    needs = {"agreement", "js_distance", "l2_distance", "tug_of_war"}
    assert {n for n, m in asked(other, patterns, view).items() if m is None} == needs
    itself = asked(view, patterns, view)
    assert [name for name, m in itself.items() if m is not None] == ["zrf"]


def test_the_retrained_model_is_not_compared_with_itself(view, other, patterns):
    retrained = dataclasses.replace(other, name="retrained")
    found = asked(retrained, patterns, view, retrained)
    assert [name for name, m in found.items() if m is not None] == ["zrf"]


def test_zrf_is_one_less_the_mean_divergence_in_bits_from_one_random_network(
    view, other, patterns, monkeypatch
):
    blanks = []

    def noted(model, data):
        blanks.append(model)
        return predict(model, data)

    monkeypatch.setattr("unsee.audits._distance.predict", noted)
    for model in (view, other):
        torch.rand(5)  # what the caller drew in between does not matter
        found = asked(model, patterns, view)["zrf"]
        p = model.forget.logits.softmax(1)
        q = predict(blanks[-1], patterns.forget).logits.softmax(1)
        bits = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
        assert found.value == pytest.approx(1 - np.mean(bits), rel=1e-5) and found.n == 24
    weights = [blank.state_dict() for blank in blanks]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["4.weight"], view.model.state_dict()["4.weight"])


def test_zrf_is_one_for_a_model_that_answers_as_the_random_network_does(view, patterns):
    blanks = []
    state = torch.random.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "unsee.audits._distance.predict",
            lambda model, data: blanks.append(model) or predict(model, data),
        )
        asked(view, patterns, view)
    assert torch.equal(state, torch.random.get_rng_state())
    random = seen_by("unlearned", blanks[0], patterns)
    assert asked(random, patterns, view)["zrf"].value == pytest.approx(1)
    assert asked(view, patterns, view)["zrf"].value < 0.9


def test_zrf_is_left_open_where_no_second_network_can_be_had(view, patterns):
    class Stuck(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

    original = dataclasses.replace(view, model=Stuck())
    assert asked(view, patterns, original)["zrf"] is None


def test_zrf_draws_a_thousand_images_at_most(view, patterns, monkeypatch):
    monkeypatch.setattr("unsee.audits._distance.SAMPLE", 10)
    assert asked(view, patterns, view)["zrf"].n == 10


def test_tug_of_war_multiplies_what_is_alike_on_three_sets(view, patterns):
    ours = answering(view, "forget", [True] * 6 + [False] * 18)
    ours = answering(ours, "retain", [True] * 36 + [False] * 12)
    ours = answering(ours, "test", [True] * 8 + [False] * 8)
    theirs = answering(view, "forget", [False] * 24)
    theirs = answering(theirs, "retain", [True] * 48)
    theirs = dataclasses.replace(answering(theirs, "test", [True] * 16), name="retrained")
    m = asked(ours, patterns, view, theirs)["tug_of_war"]
    assert m.value == pytest.approx((1 - 0.25) * (1 - 0.25) * (1 - 0.5))
    assert m.low < m.value < m.high and m.n == 24 + 48 + 16


def test_the_interval_of_tug_of_war_is_that_of_redrawn_images(view, patterns):
    draw = np.random.default_rng(0)
    right = {
        part: draw.random(n) < 0.6 for part, n in (("forget", 24), ("retain", 48), ("test", 16))
    }
    before = {part: draw.random(len(x)) < 0.7 for part, x in right.items()}
    ours = theirs = view
    for part in right:
        ours = answering(ours, part, right[part].tolist())
        theirs = answering(theirs, part, before[part].tolist())
    m = asked(ours, patterns, view, dataclasses.replace(theirs, name="retrained"))["tug_of_war"]
    redrawn = []
    for _ in range(4000):
        product = 1.0
        for part in right:
            rows = draw.integers(len(right[part]), size=len(right[part]))
            product *= 1 - abs(right[part][rows].mean() - before[part][rows].mean())
        redrawn.append(product)
    low, high = np.quantile(redrawn, [0.025, 0.975])
    assert (m.low, m.high) == pytest.approx((low, max(high, m.value)), abs=0.03)


def test_the_class_that_fell_most_is_named_and_those_that_go_are_not_asked(view, patterns):
    labels = view.test.labels
    fallen = labels != 1  # every image of b is wrong now
    ours = answering(view, "test", fallen.tolist())
    before = answering(view, "test", [True] * 16)
    found = asked(ours, patterns, dataclasses.replace(before, name="original"))
    assert found["worst_class_change"].value == -1 == found["worst_class_change/b"].value
    assert found["worst_class_change"].n == int((labels == 1).sum())
    assert "worst_class_change/c" not in found and "worst_class_change/a" not in found
    risen = asked(
        dataclasses.replace(before, name="unlearned"),
        patterns,
        dataclasses.replace(ours, name="original"),
    )
    assert risen["worst_class_change"].value == 0 == risen["worst_class_change/a"].value


def test_the_interval_of_the_worst_class_is_wider_for_having_been_chosen_from_two(view, patterns):
    labels = view.test.labels
    n, lost = int((labels == 1).sum()), 3
    wrong = torch.isin(torch.arange(16), (labels == 1).nonzero()[:lost, 0])
    before = dataclasses.replace(answering(view, "test", [True] * 16), name="original")
    m = asked(answering(view, "test", (~wrong).tolist()), patterns, before)["worst_class_change/b"]
    centre, cells = -lost / (n + 2), (lost + 1) / (n + 2)  # half a count more in each cell
    reach = norm.ppf(1 - 0.05 / 2 / 2) * ((cells - centre**2) / (n + 2)) ** 0.5
    assert (m.value, m.n) == (-lost / n, n)
    assert (m.low, m.high) == pytest.approx((centre - reach, centre + reach))


def test_changes_are_measured_against_the_retrained_model_where_there_is_one(view, patterns):
    ours = answering(view, "test", [False] * 16)
    same = dataclasses.replace(ours, name="retrained")
    found = asked(ours, patterns, view, same)
    assert found["worst_class_change"].value == 0


def test_a_test_set_without_images_leaves_its_questions_open(view, other, patterns):
    none = Seen(*(x[:0] for x in (view.test.labels, view.test.logits, view.test.features)))
    ours, theirs = (dataclasses.replace(v, test=none) for v in (other, view))
    found = asked(ours, patterns, theirs, dataclasses.replace(theirs, name="retrained"))
    assert found["tug_of_war"] is found["worst_class_change"] is None
    assert found["agreement"] is not None

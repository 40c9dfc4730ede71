import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, seeded
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.audits import AUDITS, _relearning, observe
from unsee.data import choose
from unsee.draws import generator
from unsee.errors import UnseeWarning
from unsee.methods import find

STEPS = [0, 1, 2, 5, 10, 20]


def seen(model, split, name="original"):
    return observe(name, model, split, partial(generator, 0))


@pytest.fixture
def view(trained, patterns):
    return seen(trained, patterns)


@pytest.fixture
def edited(trained, patterns):
    model = find("head_only")(trained, patterns.forget, patterns.retain, rng=rng())
    return seen(model, patterns, "unlearned")


@pytest.fixture
def ignorant(patterns):
    """Of a model that was trained on nothing, and never answers with the class."""
    model = seeded(conv_net, 7).eval()
    with torch.no_grad():
        model[4].bias[2] -= 3
    return seen(model, patterns, "retrained")


def asked(view, split, original=None, retrained=None, seed=0):
    return AUDITS["relearning"](
        view, original=original or view, retrained=retrained, split=split, rng=rng(seed)
    )


def plain(found):
    return {n: m.tolist() if isinstance(m, np.ndarray) else m for n, m in found.items()}


def test_the_original_has_nothing_to_learn_again(view, ignorant, patterns):
    found = asked(view, patterns, retrained=ignorant)
    assert found["relearn_steps"].value == 0
    assert found["relearn_recall"].value > 0.9
    assert found["relearn_recall_restored"] == found["relearn_recall"]
    assert found["anamnesis_index"].value == 0
    assert found["relearn/steps"].tolist() == found["relearn/steps_to_cap"].tolist() == STEPS


def test_noop_is_the_original_to_the_last_digit(view, ignorant, patterns):
    again = seen(copy.deepcopy(view.model), patterns, "unlearned")
    before, after = (
        plain(asked(v, patterns, original=view, retrained=ignorant)) for v in (view, again)
    )
    assert before == after


def test_an_edited_output_layer_looks_forgotten_until_it_is_put_back(view, edited, patterns):
    found = asked(edited, patterns, original=view)
    before = asked(view, patterns)
    assert found["relearn_recall"].value == 0
    assert found["relearn/recall"].tolist() == [0] * len(STEPS)
    assert found["relearn_recall_restored"] == before["relearn_recall"]
    assert found["relearn/recall_restored"].tolist() == before["relearn/recall"].tolist()
    assert found["relearn_steps"].value > 20
    assert found["anamnesis_index"] is None  # there is no retrained model


def test_steps_are_counted_until_all_is_back_and_go_with_the_retrained_model_s(
    view, ignorant, patterns
):
    found = asked(ignorant, patterns, original=view, retrained=ignorant)
    steps, recall = found["relearn/steps_to_cap"], found["relearn/recall_to_cap"]
    goal = 0.95 * float((view.unseen.logits.argmax(1) == 2).double().mean())
    back = [int(s) for s, r in zip(steps, recall, strict=True) if r >= goal]
    measured = found["relearn_steps"]
    assert measured.value == (back[0] if back else 200) > 0
    if back:
        before = int(steps[steps.tolist().index(back[0]) - 1])
        assert (measured.low, measured.high) == (before + 1, back[0])
        assert steps[-1] == max(20, back[0])
    own = found["anamnesis_index"]
    assert (own.value, own.low, own.high) == (1, 1, 1)
    twin = seen(copy.deepcopy(ignorant.model), patterns, "unlearned")
    other = asked(twin, patterns, original=view, retrained=ignorant)
    assert other["relearn_steps"] == measured
    index = other["anamnesis_index"]
    assert index.value == 1 and index.low <= 1 <= index.high


def test_no_more_is_learned_from_than_is_said(view, edited, patterns, monkeypatch):
    learned, looked = [], []

    def counted(model, images, *more):
        learned.append(len(images))
        return model(images)

    def asking(model, data):
        looked.append(len(data))
        return predict(model, data)

    predict = _relearning.predict
    monkeypatch.setattr(_relearning, "answers", counted)
    monkeypatch.setattr(_relearning, "predict", asking)
    monkeypatch.setattr(_relearning, "TESTED", 5)
    monkeypatch.setattr(_relearning, "ENOUGH", 2.0)  # never
    found = asked(edited, patterns, original=view)
    steps = found["relearn_steps"]
    assert (steps.value, steps.low, steps.high) == (200, 200, 200)  # or more: it is capped
    assert found["relearn/steps_to_cap"].tolist() == [
        *STEPS,
        *range(30, 60, 10),
        *range(60, 201, 20),
    ]
    n = min(50, len(patterns.forget)) + min(450, len(patterns.retain))
    later = [len(x) for x in torch.arange(n).tensor_split(-(-n // 32))]
    delivered, restored = learned[:200], learned[200:]
    assert delivered[:20] == restored == [n] * 20  # less than a batch of 128
    assert delivered[20 : 20 + len(later)] == later
    assert sum(delivered) <= _relearning.BUDGET
    assert {*looked} == {5} and len(looked) == 6 + 11 + 6


def test_what_is_taught_is_taken_from_training_images_only(view, patterns):
    lesson = _relearning._lesson(view, patterns, rng())
    own = {*patterns.forget.ids.tolist(), *patterns.retain.ids.tolist()}
    assert {*lesson.data.ids.tolist()} <= own
    assert {*lesson.unseen.ids.tolist()} <= {*patterns.test.ids.tolist()}
    assert {*lesson.unseen.labels.tolist()} == {2}
    by_id = {i: y for i, y in zip(patterns.forget.ids, patterns.forget.labels, strict=True)}
    rows = [n for n, i in enumerate(lesson.data.ids) if i in by_id]
    assert [int(lesson.data.labels[n]) for n in rows] == [2] * min(50, len(patterns.forget))


def test_a_curve_is_the_descent_written_down(monkeypatch, ignorant, view, patterns):
    """Against torch's own SGD on the same batches, here all images at once."""
    monkeypatch.setattr(_relearning, "LR", 0.05)  # so that something is learned in 20 steps
    found = asked(ignorant, patterns, original=view)
    lesson = _relearning._lesson(view, patterns, rng())
    net = copy.deepcopy(ignorant.model)
    sgd = torch.optim.SGD(net.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    x, test = lesson.data.images.float() / 255, lesson.unseen.take(torch.arange(8)).float() / 255
    recall = []
    for step in range(21):
        if step in STEPS:
            with torch.no_grad():
                recall.append(float((net.eval()(test).argmax(1) == 2).double().mean()))
        sgd.zero_grad()
        cross_entropy(net.train()(x), lesson.data.labels).backward()
        sgd.step()
    assert len(lesson.unseen) == 8 and recall[-1] >= recall[0] + 0.5
    assert found["relearn/recall"].tolist() == pytest.approx(recall, abs=0.126)  # one image


def test_the_same_seed_gives_the_same_curve_and_leaves_no_trace(patterns, view):
    net = nn.Sequential(*seeded(conv_net, 4)[:4], nn.Dropout(0.3), nn.Linear(24, 3))
    net[0][1].train()
    ours, again = (
        seen(copy.deepcopy(net).requires_grad_(False), patterns, "unlearned") for _ in range(2)
    )
    state = copy.deepcopy(ours.model.state_dict())
    modes, dice = [m.training for m in ours.model.modules()], torch.get_rng_state()
    first, second = (plain(asked(v, patterns, original=view)) for v in (ours, again))
    assert first == second  # of two views: nothing is remembered from the other
    assert modes == [m.training for m in ours.model.modules()]
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(state[name], x) for name, x in ours.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.model.modules())
    assert all(w.grad is None and not w.requires_grad for w in ours.model.parameters())


def test_other_seeds_teach_other_images(view, ignorant, patterns, monkeypatch):
    monkeypatch.setattr(_relearning, "RETAIN", 10)
    lessons = [_relearning._lesson(view, patterns, rng(seed)) for seed in (0, 0, 1)]
    a, b, c = (lesson.data.ids.tolist() for lesson in lessons)
    assert a == b != c


def test_learning_goes_on_after_a_look_in_bfloat16(view, ignorant, patterns, in_bfloat16):
    """Weights that autocast kept from a look without gradients must not serve the next step."""
    moved = []

    def noted(model, images, *more):
        moved.append([w.detach().clone() for w in model.parameters()])
        return model(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_relearning, "answers", noted)
        asked(ignorant, patterns, original=view)
    for before, after in zip(moved[:5], moved[1:6], strict=True):
        assert not any(map(torch.equal, before, after))


def test_a_model_that_diverges_has_no_curve_and_a_warning(view, ignorant, patterns):
    broken = copy.deepcopy(ignorant.model)
    with torch.no_grad():
        for weight in broken[4].parameters():
            weight.mul_(1e18)
    with pytest.warns(UnseeWarning, match="diverges at the rate 0.01"):
        found = asked(seen(broken, patterns, "unlearned"), patterns, original=view)
    assert found["relearn_recall"] is found["relearn_steps"] is found["anamnesis_index"] is None
    assert "relearn/recall" not in found
    assert found["relearn_recall_restored"] is not None


def test_single_images_and_classes_without_test_images_have_no_curve(trained, view, patterns):
    some = choose(pattern_data(), torch.arange(0, 24))
    none = dataclasses.replace(
        view,
        unseen=dataclasses.replace(
            view.unseen,
            **{n: getattr(view.unseen, n)[:0] for n in ("labels", "logits", "features")},
        ),
    )
    for found in (asked(seen(trained, some), some), asked(none, patterns)):
        assert set(found.values()) == {None} and len(found) == 4

"""The way out of a class, and the two methods that take it: boundary_shrink and amun."""

import copy
from dataclasses import replace

import pytest
import torch
from conftest import pattern_data, rng
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, choose
from unsee.errors import ModelError, OptionError
from unsee.methods import METHODS, _amun, _boundary_shrink
from unsee.methods._adversarial import fixed, nearest, others, uphill, within
from unsee.methods._boundary_shrink import behind
from unsee.training import count_images, counting, predict


def pixels(data):
    return as_floats(data.take(torch.arange(len(data))))


def test_the_way_out_is_that_of_cross_entropy_and_there_where_that_has_underflown(
    trained, patterns
):
    x, y = pixels(patterns.forget), patterns.forget.labels
    model = trained.eval()
    _, slope = uphill(fixed(model), x, y)

    def published(scale):
        leaf = x.clone().requires_grad_()
        cross_entropy(scale * model(leaf), y, reduction="sum").backward()
        return leaf.grad.flatten(1)

    assert torch.cosine_similarity(published(1), slope.flatten(1)).min() > 0.9999
    assert published(100).abs().max() == 0  # so sure that its gradient is no number above 0
    with torch.no_grad():
        model[4].weight *= 100
        model[4].bias *= 100
    _, sure = uphill(fixed(model), x, y)
    assert sure.flatten(1).norm(dim=1).min() > 0


def test_no_way_leads_to_a_class_that_goes_unless_there_is_no_other():
    logits = torch.tensor([[5.0, 4.0, 3.0]])
    assert others(logits, torch.tensor([0])).tolist() == [[-torch.inf, 4.0, 3.0]]
    assert others(logits, torch.tensor([0]), (0, 1)).argmax(1).item() == 2
    assert others(logits, torch.tensor([2]), (0, 1)).argmax(1).item() == 2  # its own, which stays


def test_an_owner_s_floats_keep_their_range():
    assert within(torch.tensor([0.2, 0.7])) == (0.0, 1.0)
    assert within(torch.tensor([-2.0, 2.5])) == (-2.0, 2.5)


# Boundary shrink.


class Rings(nn.Module):
    """Three classes, one at each of three brightnesses: nearest wrong class known by hand."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3))
            self.head.bias.zero_()

    def forward(self, x):
        mean = x.mean((1, 2, 3))[:, None]
        return self.head(-50 * (mean - torch.tensor([[0.2, 0.5, 0.8]])).square())


@pytest.mark.parametrize("mean, nearest_class", [(0.45, 0), (0.55, 2)])
def test_the_class_behind_the_nearest_boundary_is_the_nearer_one(mean, nearest_class):
    data = pattern_data(n=6)
    images = torch.full((6, 1, 8, 8), mean)
    own = torch.ones(6, dtype=torch.long)
    flat = replace(data, images=images, labels=own)
    assert behind(Rings(), flat, 0.1, ()).tolist() == [nearest_class] * 6


def test_a_step_that_stays_in_its_class_still_names_another(trained, patterns):
    """The published port takes the answer itself, which then is the image's own class."""
    told = behind(trained, patterns.forget, 1e-6, patterns.gone)
    runner_up = predict(trained, patterns.forget).logits.topk(2).indices[:, 1]
    assert torch.equal(told, runner_up)


def test_the_step_is_that_of_the_fast_gradient_sign(trained, patterns):
    x = pixels(patterns.forget).requires_grad_()
    model = copy.deepcopy(trained).eval()
    cross_entropy(model(x), patterns.forget.labels).backward()
    with torch.no_grad():
        moved = model((x + 0.3 * x.grad.sign()).clamp(0, 1))
    moved[:, 2] = -torch.inf
    assert torch.equal(behind(trained, patterns.forget, 0.3, patterns.gone), moved.argmax(1))


def test_the_image_itself_is_taught_the_class_behind(monkeypatch, trained, patterns):
    """The undisturbed image, by its own answer: a step of the loss is on x and not on x'."""
    told = []
    monkeypatch.setattr(
        _boundary_shrink,
        "cross_entropy",
        lambda z, y: told.append((z.detach(), y)) or z.sum() * 0,
    )
    METHODS["boundary_shrink"](
        trained, patterns.forget, patterns.retain, rng=rng(), epochs=1, lr=0.0, statistics="frozen"
    )
    with torch.no_grad():
        plain = trained.eval()(as_floats(patterns.forget.take(torch.arange(24))))
    wanted = behind(trained, patterns.forget, 0.1, patterns.gone)
    logits, labels = (torch.cat(each) for each in zip(*told, strict=True))
    rows = [int((plain - row).abs().amax(1).argmin()) for row in logits]
    assert sorted(rows) == [*range(24)]
    assert torch.allclose(logits, plain[rows], atol=1e-4)
    assert labels.tolist() == wanted[rows].tolist() and not (labels == 2).any()


def test_boundary_shrink_counts_the_way_and_the_look_behind_it(trained, patterns):
    with counting() as spent:
        METHODS["boundary_shrink"](trained, patterns.forget, patterns.retain, rng=rng(), epochs=2)
    assert sum(spent) == pytest.approx(24 * (1 + 1 / 3) + 2 * 24)


# AMUN.


def test_adversarial_examples_are_near_and_answered_as_they_are_labelled(trained, patterns):
    near, reach = nearest(trained, patterns.forget, patterns.gone, 0.04, 5)
    assert near.ids.tolist() == patterns.forget.ids.tolist()  # all of them, in order
    away = (near.images - pixels(patterns.forget)).flatten(1).norm(dim=1)
    assert (away <= reach + 1e-5).all()
    assert torch.equal(predict(trained, near).logits.argmax(1), near.labels)
    assert not (near.labels == 2).any()
    assert 0 <= near.images.min() and near.images.max() <= 1
    assert (away > reach / 4).all()  # half the radius did not do, but for the bends of the way


def test_an_image_that_is_answered_wrongly_is_its_own_adversary(trained, patterns):
    wrong = replace(patterns.forget, labels=torch.zeros_like(patterns.forget.labels))
    near, _ = nearest(trained, wrong, (), 0.04, 5)
    assert torch.equal(near.images, pixels(patterns.forget))
    assert (near.labels == 2).all()


def test_a_model_without_other_answers_is_refused(trained, patterns):
    with torch.no_grad():
        trained[4].weight.zero_()
        trained[4].bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    with pytest.raises(ModelError, match="Expected answers that change.*24 images"):
        nearest(trained, patterns.forget, patterns.gone, 0.04, 2)


def test_a_search_without_steps_is_refused(trained, patterns):
    with pytest.raises(OptionError, match="steps as int >= 1, got 0"):
        METHODS["amun"](trained, patterns.forget, patterns.retain, rng=rng(), steps=0)


def shown(monkeypatch, model, split, **more):
    """Return the labels of the first batch that amun trains on."""
    seen = []
    monkeypatch.setattr(
        _amun, "cross_entropy", lambda z, y: seen.append(y.clone()) or cross_entropy(z, y)
    )
    METHODS["amun"](model, split.forget, split.retain, rng=rng(), gone=split.gone, **more)
    return seen[0]


def test_a_forgotten_class_is_not_taught_its_own_label(monkeypatch, trained, patterns):
    labels = shown(monkeypatch, trained, patterns, epochs=1, batch=32)
    assert not (labels == 2).any()


def test_single_images_keep_their_labels_beside_their_adversaries(monkeypatch, trained):
    split = choose(pattern_data(), torch.arange(6))
    near, _ = nearest(trained, split.forget, (), 0.04, 5)
    labels = shown(monkeypatch, trained, split, epochs=1, batch=32, kept=0)
    assert len(labels) == 12  # the adversaries, and the images themselves
    assert sorted(labels[:6].tolist()) == sorted(near.labels.tolist())
    assert sorted(labels[6:].tolist()) == sorted(split.forget.labels.tolist())


def test_amun_counts_every_step_of_its_search(trained, patterns):
    with counting() as search:
        model = copy.deepcopy(trained)
        model.register_forward_pre_hook(count_images)
        nearest(model, patterns.forget, patterns.gone, 0.04, 5)
    with counting() as spent:
        METHODS["amun"](trained, patterns.forget, patterns.retain[:0], rng=rng(), epochs=2)
    assert sum(search) > 24
    assert sum(spent) == pytest.approx(sum(search) + 2 * 24)

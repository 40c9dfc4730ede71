"""What makes each published method itself, against computations that it does not share."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import conv_net, flat_net, pattern_data, rng, seeded
from scipy.special import softmax
from scipy.stats import entropy
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import training
from unsee.data import choose
from unsee.errors import OptionError, SplitError
from unsee.methods import (
    METHODS,
    _bad_teacher,
    _gradient_ascent,
    _l1_sparse,
    _neggrad_plus,
    _random_labels,
    _scrub,
    _unsir,
)
from unsee.methods._divergence import divergence
from unsee.methods._importance import dampen
from unsee.methods._mixed import mixed, mixed_steps
from unsee.methods._rewind import nearest
from unsee.methods._saliency import salient
from unsee.methods._unsir import maximising
from unsee.models import normalise
from unsee.training import counting, predict


def apply(name, model, split, seed=0, **more):
    return METHODS[name](model, split.forget, split.retain, rng=rng(seed), **more)


@pytest.fixture
def losses(monkeypatch):
    """Collect the losses that a method asks for, of a model that takes no step."""
    found = []

    def collect(model, stream, **_):
        model.train()
        found.extend(float(loss.detach()) for loss in stream)
        return model

    for module in (_gradient_ascent, _l1_sparse, _neggrad_plus, _scrub):
        monkeypatch.setattr(module, "descend", collect)
    return found


def at_once(model, data):
    """The loss of all images as one batch, whose statistics batch norm takes."""
    images = data.take(torch.arange(len(data))).float() / 255
    with torch.no_grad():
        return float(cross_entropy(copy.deepcopy(model).train()(images), data.labels))


# Gradient ascent, NegGrad+, L1-sparse: one term and its sign.


def test_ascent_is_the_loss_upside_down(losses, trained, patterns):
    apply("gradient_ascent", trained, patterns)
    assert losses == [pytest.approx(-at_once(trained, patterns.forget), rel=1e-5)]


def test_a_long_ascent_goes_at_a_lower_rate(monkeypatch, trained, patterns):
    rates = []
    monkeypatch.setattr(
        _gradient_ascent, "descend", lambda model, stream, *, lr: rates.append(lr) or model
    )
    for batch in (24, 8, 2):  # 1, 3 and 12 steps over 24 images
        apply("gradient_ascent", trained, patterns, lr=0.5, batch=batch)
    assert rates == [0.5, 0.5, 0.125]
    for name in ("gradient_ascent", "neggrad_plus", "lipschitz"):
        with pytest.raises(OptionError, match=f"{name}'s max_steps as 1 or more, got 0"):
            apply(name, trained, patterns, max_steps=0)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_neggrad_weighs_what_stays_by_alpha_and_what_goes_by_the_rest(
    losses, trained, patterns, alpha
):
    apply("neggrad_plus", trained, patterns, alpha=alpha, batch=100, epochs=2)
    kept, gone = (at_once(trained, data) for data in (patterns.retain, patterns.forget))
    assert losses == [pytest.approx(alpha * kept - (1 - alpha) * gone, rel=1e-4, abs=1e-6)] * 2


def test_neggrad_climbs_no_farther_in_many_steps(losses, trained, patterns):
    apply("neggrad_plus", trained, patterns, alpha=0.25, batch=100, epochs=4, max_steps=2)
    kept, gone = (at_once(trained, data) for data in (patterns.retain, patterns.forget))
    assert losses == [pytest.approx(0.25 * kept - 0.75 / 2 * gone, rel=1e-4, abs=1e-6)] * 4


def test_neggrad_brings_few_images_round_as_often_as_it_takes(losses, trained, patterns):
    apply("neggrad_plus", trained, patterns, alpha=0.0, batch=12, epochs=1)
    assert len(losses) == 4  # 48 images stay, 24 go


@pytest.mark.parametrize("name", ["neggrad_plus", "salun"])
def test_a_share_of_more_than_all_is_refused(trained, patterns, name):
    share = {"neggrad_plus": "alpha", "salun": "share"}[name]
    with pytest.raises(OptionError, match=f"{name}'s {share} in 0..1, got 1.5"):
        apply(name, trained, patterns, **{share: 1.5})


def test_the_sum_of_all_weights_counts_less_with_every_step(losses, trained, patterns):
    options = {"batch": 12, "epochs": 1, "lr": 0.05}  # 48 images stay: 4 steps
    apply("l1_sparse", trained, patterns, strength=0.0, **options)
    plain = losses[:]
    losses.clear()
    apply("l1_sparse", trained, patterns, strength=0.4, **options)
    norm = sum(np.abs(weight.detach().numpy()).sum() for weight in trained.parameters())
    mean = norm / sum(weight.numel() for weight in trained.parameters())
    gamma = 0.4 * mean / (0.05 * 4)
    more = np.subtract(losses, plain)
    assert more == pytest.approx(gamma * norm * np.array([1, 0.75, 0.5, 0.25]), rel=1e-4)


def test_weights_shrink_as_far_in_few_steps_as_in_many(trained, patterns):
    def size(strength, epochs):
        options = {"strength": strength, "lr": 0.02, "batch": 12, "epochs": epochs}
        after = apply("l1_sparse", trained, patterns, **options)
        return sum(float(weight.detach().abs().sum()) for weight in after.parameters())

    few, many = (1 - size(0.4, epochs) / size(0.0, epochs) for epochs in (3, 12))
    assert 0.15 < few < many < 2 * few  # a fixed weight would shrink them four times as far


# Random labels and SalUn.


def spy_on_targets(monkeypatch):
    seen = []

    def noted(logits, target):
        seen.append(target.detach().clone())
        return cross_entropy(logits, target)

    monkeypatch.setattr(_random_labels, "cross_entropy", noted)
    return seen


def test_what_goes_is_called_anything_else_anew_and_what_stays_by_its_name(monkeypatch, trained):
    seen = spy_on_targets(monkeypatch)
    images = pattern_data()
    split = choose(images, torch.flatten((images.labels == 1).nonzero())[:19])  # some of class b
    apply("random_labels", trained, split, epochs=2, batch=100, lr=0.0)
    own = {}
    for data, part in ((split.forget, 0), (split.retain, 1)):
        own[part] = torch.bincount(data.labels, minlength=3)
    n = len(split.forget)
    first, second = seen
    for target in seen:
        assert torch.equal(target.sum(1), torch.ones(len(target)))
        assert torch.equal(target[n:].sum(0).long(), own[1])
        assert float(target[:n, 1].sum()) == 0, "one is called by its own name"
    assert not torch.equal(first[:n].sum(0), second[:n].sum(0))


@pytest.mark.parametrize("name", ["random_labels", "salun"])
def test_no_image_to_forget_is_ever_called_by_its_own_or_a_forgotten_class(
    monkeypatch, trained, name
):
    seen = spy_on_targets(monkeypatch)
    split = choose(pattern_data(), "class=b,c")
    apply(name, trained, split, epochs=3, batch=12)
    told = torch.cat(seen)
    assert len(told) == 3 * 72
    assert float(told[:, 1:].sum()) == 0  # all that is left is class a


def test_the_mask_has_the_weights_with_the_largest_gradients_of_all(trained, patterns):
    found = salient(trained, patterns.forget, 0.3, rng=rng(), size=7)
    plain = copy.deepcopy(trained).eval()
    images = patterns.forget.take(torch.arange(24)).float() / 255
    cross_entropy(plain(images), patterns.forget.labels, reduction="sum").backward()
    sizes = np.concatenate([w.grad.abs().flatten().numpy() for w in plain.parameters()])
    mask = torch.cat([part.flatten() for part in found]).numpy()
    assert mask.sum() == round(0.3 * len(sizes))
    assert sizes[mask == 1].min() >= sizes[mask == 0].max() * (1 - 1e-3)
    assert [part.shape for part in found] == [w.shape for w in plain.parameters()]


def test_weights_outside_the_mask_stay_bit_for_bit(trained, patterns):
    masks = salient(trained, patterns.forget, 0.3, rng=rng(), size=64)
    after = apply("salun", trained, patterns, share=0.3, epochs=2)
    moved = [
        (old != new).float()
        for old, new in zip(trained.parameters(), after.parameters(), strict=True)
    ]
    inside = torch.cat([m.flatten() for m in masks]) == 1
    changed = torch.cat([m.flatten() for m in moved]) == 1
    assert not changed[~inside].any()
    assert changed[inside].float().mean() > 0.9
    assert not any(weight._backward_hooks for weight in after.parameters())


# Selective synaptic dampening.


class Three(nn.Module):
    """Three weights: logits w.x and 0."""

    def __init__(self, *weights):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        score = x.flatten(1) @ self.w
        return torch.stack([score, torch.zeros_like(score)], 1)


def by_hand(w, x, y, kind):
    """Importance with one image a batch: a mean over images, of gradients written down."""
    score = x @ w
    if kind == "loss":
        p = 1 / (1 + np.exp(-score))
        return (((p - (y == 0))[:, None] * x) ** 2).mean(0)
    return np.abs(2 * score[:, None] * x).mean(0)


@pytest.mark.parametrize("kind", ["loss", "outputs"])
@pytest.mark.parametrize("select", ["alpha", "adaptive"])
def test_three_weights_are_dampened_as_on_paper(kind, select):
    shades = np.array([[9, 200, 30], [5, 240, 10], [3, 90, 80], [90, 3, 200], [110, 2, 150.0]])
    labels = np.array([0, 0, 1, 1, 0])
    data = pattern_data(12, 8)  # replaced below
    data = replace(
        data[:5],
        images=torch.tensor(shades, dtype=torch.uint8).view(5, 1, 1, 3),
        labels=torch.tensor(labels),
        rows=None,
    )
    w, x = np.array([0.5, -0.3, 0.8]), shades / 255
    forget, everything = by_hand(w, x[:2], labels[:2], kind), by_hand(w, x, labels, kind)
    ratio = forget / everything
    alpha = 1.5 if select == "alpha" else np.percentile(ratio, 100 - np.log(1 + 100 * 2 / 5))
    factor = np.minimum(0.5 * everything / forget, 1)
    expected = np.where(ratio > alpha, factor * w, w)
    assert 1 <= (expected != w).sum() <= 2  # some are dampened, not all
    after = METHODS["ssd"](
        Three(*w.tolist()),
        data[:2],
        data[2:],
        rng=rng(),
        alpha=1.5,
        lam=0.5,
        importance_of=kind,
        select=select,
        batch=1,
    )
    assert after.w.detach().numpy() == pytest.approx(expected, rel=1e-4)


def test_dampening_never_makes_a_weight_larger():
    weight = nn.Parameter(torch.tensor([2.0, 2.0, 2.0, 2.0]))
    forget, all_ = torch.tensor([40.0, 3.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    dampen([weight], [forget], [all_], 2.0, 10.0)
    assert weight.tolist() == [0.5, 2.0, 2.0, 2.0]  # 10/40; 10/3 is no dampening; 1 < 2; 0/0


def test_dampening_leaves_statistics_and_frozen_weights(trained, patterns):
    trained[0][0].weight.requires_grad_(False)
    before = copy.deepcopy(trained.state_dict())
    after = apply("ssd", trained, patterns, alpha=0.1, lam=0.1).state_dict()
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert "0.0.weight" in same and "1.0.weight" not in same
    assert {key for key in before if "running" in key or "tracked" in key} <= same


# SCRUB.


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_divergence_is_the_textbook_s(temperature):
    model, teacher = (10 * torch.randn(6, 4, generator=rng(seed)) for seed in (1, 2))
    p, q = (softmax(z.double().numpy() / temperature, axis=1) for z in (teacher, model))
    expected = temperature**2 * entropy(p, q, axis=1).mean()
    assert float(divergence(model, teacher, temperature)) == pytest.approx(expected, rel=1e-5)


def test_scrub_goes_away_first_then_back_and_only_back_in_the_end(losses, trained, patterns):
    apply("scrub", trained, patterns, epochs=3, max_epochs=2, batch=12)
    signs = "".join("+" if loss > 0 else "-" for loss in losses)
    assert signs == "--++++" + "--++++" + "++++"  # 24 to forget, 48 to keep


def test_scrub_lets_an_image_go_that_is_far_enough_away(losses, trained, patterns):
    images = patterns.forget.take(torch.arange(24)).float() / 255
    with torch.no_grad():
        original, model = trained.eval()(images), copy.deepcopy(trained).train()(images)
    p, q = (softmax(z.double().numpy() / 2, axis=1) for z in (original, model))
    apart = entropy(p, q, axis=1)
    middle = float(np.median(apart))
    for bound in (middle, 2 * apart.max()):
        losses.clear()
        apply("scrub", trained, patterns, epochs=1, batch=100, temperature=2.0, bound=bound)
        expected = -4 * np.minimum(apart, bound).mean()
        assert losses[0] == pytest.approx(expected, rel=1e-3)
    assert apart.min() < middle < apart.max()


def test_scrub_goes_nowhere_where_all_images_are_far_enough_away(monkeypatch, trained, patterns):
    pulls = []

    def noted(model, stream, **_):
        for loss in stream:
            got = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
            pulls.append(max(float(g.abs().max()) for g in got if g is not None))
        return model

    monkeypatch.setattr(_scrub, "descend", noted)
    apply("scrub", trained.train(), patterns, epochs=1, batch=100, bound=1e-6)
    away, back = pulls
    assert away == 0 < back


def test_a_bound_of_no_distance_is_refused(trained, patterns):
    with pytest.raises(OptionError, match="scrub's bound above 0 nats, got 0"):
        apply("scrub", trained, patterns, bound=0.0)


def test_scrub_keeps_by_labels_and_by_the_original_s_answers(losses, trained, patterns):
    found = {}
    for name, weights in {
        "both": {"alpha": 0.3, "gamma": 2.0},
        "labels": {"alpha": 0.0, "gamma": 1.0},
        "teacher": {"alpha": 1.0, "gamma": 0.0},
    }.items():
        losses.clear()
        apply("scrub", trained, patterns, epochs=1, batch=100, temperature=2.0, **weights)
        found[name] = losses[:]
    images = patterns.retain.take(torch.arange(48)).float() / 255
    with torch.no_grad():
        original, model = trained.eval()(images), copy.deepcopy(trained).train()(images)
    p, q = (softmax(z.double().numpy() / 2, axis=1) for z in (original, model))
    distance, ce = 4 * entropy(p, q, axis=1).mean(), at_once(trained, patterns.retain)
    assert found["labels"][1] == pytest.approx(ce, rel=1e-4)
    assert found["teacher"][1] == pytest.approx(distance, rel=1e-3)
    assert found["both"][1] == pytest.approx(2 * ce + 0.3 * distance, rel=1e-3)
    assert len({each[0] for each in found.values()}) == 1  # going away has no weight of its own


@pytest.mark.filterwarnings("ignore:half of the test images")
def test_rewinding_ends_where_forgotten_images_are_as_wrong_as_unseen_ones(monkeypatch, trained):
    split = choose(pattern_data(), torch.arange(18), validate="single images")
    seen = []

    def noted(passed, goal):
        seen.append((passed, goal))
        return nearest(passed, goal)

    monkeypatch.setattr(_scrub, "nearest", noted)
    options = {"epochs": 4, "max_epochs": 3, "lr": 0.5, "batch": 12}
    after = apply("scrub", trained, split, validation=split.validation, rewind=True, **options)
    [(passed, goal)] = seen

    def error(weights, data):
        model = seeded(conv_net)
        model.load_state_dict(weights)
        wrong = predict(model.eval(), data).logits.argmax(1) != data.labels
        return wrong.double(), data.labels

    def mean(weights, data):
        return float(error(weights, data)[0].mean())

    assert len(passed) == 4
    errors = [mean(weights, split.forget) for _, weights in passed]
    assert [value for value, _ in passed] == pytest.approx(errors)
    wrong, labels = error(passed[-1][1], split.validation)  # of the last, class by class
    assert goal == pytest.approx(
        sum(float(wrong[labels == c].mean()) * 6 for c in range(3)) / 18, abs=1e-9
    )
    best = int(np.argmin(np.abs(np.array(errors) - goal)))
    chosen = passed[best][1]
    assert all(torch.equal(after.state_dict()[key], chosen[key]) for key in chosen)


def test_rewinding_takes_the_nearest_checkpoint():
    passed = [(0.9, {"a": 0}), (0.35, {"a": 1}), (0.1, {"a": 2})]
    assert [nearest(passed, goal)["a"] for goal in (0.0, 0.3, 0.62, 0.7)] == [2, 1, 1, 0]


def test_rewinding_needs_unseen_images_of_the_forgotten_kind(trained, patterns):
    for validation in (None, patterns.retain):
        with pytest.raises(OptionError, match="validation images of the forgotten kind"):
            apply("scrub", trained, patterns, validation=validation, rewind=True)


# Bad teacher.


def test_each_kind_of_image_has_its_own_teacher(monkeypatch, trained, patterns):
    shown, told = [], []
    answers, distance = _bad_teacher.answers, _bad_teacher.divergence

    def watched(model, images):
        shown.append(images.clone())
        return answers(model, images)

    def noted(logits, teacher, temperature):
        told.append(teacher.clone())
        return distance(logits, teacher, temperature)

    monkeypatch.setattr(_bad_teacher, "answers", watched)
    monkeypatch.setattr(_bad_teacher, "divergence", noted)
    unlearned = seeded(conv_net, 9)
    original = copy.deepcopy(trained).eval()
    options = {"batch": 12, "kept": 2, "factory": lambda: copy.deepcopy(unlearned)}
    apply("bad_teacher", trained, patterns, **options)
    assert [len(x) for x in shown] == [12 + 24] * 24
    with torch.no_grad():
        for x, answer in zip(shown, told, strict=True):
            assert torch.allclose(answer[:12], unlearned.eval()(x[:12]), atol=1e-5)
            assert torch.allclose(answer[12:], original(x[12:]), atol=1e-5)


def test_without_a_factory_the_bad_teacher_is_the_model_started_anew(
    monkeypatch, trained, patterns
):
    told = []
    monkeypatch.setattr(
        _bad_teacher,
        "divergence",
        lambda logits, teacher, _: told.append(teacher) or divergence(logits, teacher),
    )
    apply("bad_teacher", trained, patterns)
    spread = torch.cat([each[:12].softmax(1) for each in told]).amax(1)
    assert spread.max() < 0.75  # it knows nothing


# UNSIR.


def test_the_noise_raises_the_loss_and_stays_small(trained):
    model = normalise(trained, torch.tensor([0.4]), torch.tensor([0.2]))
    labels, like = torch.tensor([2] * 8), torch.zeros(1, 1, 8, 8)
    images = {n: maximising(model, labels, like, steps=n, rng=rng()) for n in (0, 40)}
    with torch.no_grad():
        loss = {n: float(cross_entropy(model.eval()(x), labels)) for n, x in images.items()}
    size = {n: ((x - 0.4) / 0.2).square().sum((1, 2, 3)).mean() for n, x in images.items()}
    assert loss[40] > loss[0] + 1
    assert 0.1 * size[40] - loss[40] < 0.1 * size[0] - loss[0]  # what is minimised
    assert images[0].mean().item() == pytest.approx(0.4, abs=0.03)
    assert images[0].std().item() == pytest.approx(0.2, rel=0.1)


def test_unsir_looks_at_no_image_to_forget(trained, patterns):
    blank = replace(patterns.forget, images=torch.zeros_like(patterns.forget.images))
    a = apply("unsir", trained, patterns)
    b = METHODS["unsir"](trained, blank, patterns.retain, rng=rng())
    assert all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())


def test_unsir_impairs_with_noise_as_the_class_and_repairs_without(monkeypatch, trained, patterns):
    """As many noisy images as there are to forget, ``kept`` beside each; then these alone."""
    told = []
    original = _unsir.cross_entropy
    monkeypatch.setattr(
        _unsir, "cross_entropy", lambda z, y, **how: told.append((y, how)) or original(z, y, **how)
    )
    apply("unsir", trained, patterns, epochs=1, batch=12, kept=2, noise=6, noise_steps=5)
    made = [y for y, how in told if how]
    taught = [y for y, how in told if not how]
    assert len(made) == 5 and all(y.tolist() == [2] * 6 for y in made)
    impair, repair = taught[: len(taught) // 2], taught[len(taught) // 2 :]
    assert len(impair) == 24 and all(len(y) == 12 + 24 and (y[:12] == 2).all() for y in impair)
    assert all(len(y) == 24 for y in repair)
    assert not any((y == 2).any() for y in (*repair, *(y[12:] for y in impair)))


def test_unsir_makes_noise_for_every_class_that_goes_and_refuses_single_images(
    monkeypatch, trained
):
    both, noisy, real = choose(pattern_data(), "class=b,c"), set(), _unsir.maximising
    monkeypatch.setattr(
        _unsir,
        "maximising",
        lambda model, labels, *a, **how: (
            noisy.update(labels.tolist()) or real(model, labels, *a, **how)
        ),
    )
    after = apply("unsir", trained, both, epochs=6, lr=0.1)
    assert noisy == {1, 2}
    assert (predict(after, both.forget).logits.argmax(1) == 0).double().mean() >= 0.9
    some = choose(pattern_data(), torch.arange(6))
    with pytest.raises(SplitError, match="whole classes to forget with 'unsir'"):
        apply("unsir", trained, some)


# Batches with both kinds.


@pytest.mark.parametrize("n, m, size", [(24, 48, 10), (1, 48, 10), (24, 1, 1), (3, 2, 64)])
def test_mixed_batches_hold_every_image_once_an_epoch_those_to_forget_first(n, m, size):
    data = pattern_data(120)
    numbered = replace(data, labels=torch.arange(len(data)))
    forget, retain = numbered[:n], numbered[50 : 50 + m]
    found = [*mixed(forget, retain, rng=rng(), size=size)]
    assert len(found) == mixed_steps(forget, retain, size)
    assert max(len(y) for _, y, _ in found) <= size
    mine = torch.cat([y[:k] for _, y, k in found]).sort().values
    others = torch.cat([y[k:] for _, y, k in found]).sort().values
    assert torch.equal(mine, forget.labels) and torch.equal(others, retain.labels)
    for x, y, _ in found:
        assert torch.equal((x * 255).round().to(torch.uint8), data.images[y])


# What it costs.


@pytest.mark.parametrize(
    "name, options, looked, learned",
    [
        ("gradient_ascent", {}, 0, 10),
        ("l1_sparse", {"epochs": 2}, 0, 2 * 22),
        ("neggrad_plus", {"epochs": 2}, 0, 2 * (22 + 10)),
        ("random_labels", {"epochs": 2}, 0, 2 * 32),
        ("salun", {"epochs": 2}, 0, 10 + 2 * 32),
        ("ssd", {}, 0, 10 + 32),
        ("scrub", {"epochs": 3, "max_epochs": 2}, 2 * 10 + 3 * 22, 2 * 10 + 3 * 22),
        ("bad_teacher", {"epochs": 1, "kept": 3}, 24 * (10 + 22), 24 * (10 + 22)),
        (
            "unsir",
            {"epochs": 1, "batch": 5, "noise": 8, "noise_steps": 3, "kept": 5},
            0,
            24 + 24 * (5 + 44),
        ),
    ],
    ids=str,
)
def test_every_gradient_is_counted_and_a_look_for_a_third(
    model, split, name, options, looked, learned
):
    batch = {} if "batch" in options else {"batch": 10 if name == "bad_teacher" else 64}
    with counting() as spent:
        apply(name, model, split, factory=flat_net, **batch, **options)
    assert sum(spent) == pytest.approx(learned + looked / 3)


@pytest.mark.filterwarnings("ignore:half of the test images")
def test_rewinding_is_counted_too(trained):
    split = choose(pattern_data(), torch.arange(6), validate="single images")
    spent = {}
    for rewind in (False, True):
        with counting() as count:
            apply("scrub", trained, split, validation=split.validation, rewind=rewind, epochs=2)
        spent[rewind] = sum(count)
    seen = 2 * 6 + len(split.validation) + 3  # three looks for the output layer
    assert spent[True] - spent[False] == pytest.approx(seen / 3)


def test_the_slope_of_tiny_noise_is_that_of_exact_numbers(trained, patterns, monkeypatch):
    """In bfloat16 two answers that differ by a thousandth differ by rounding alone."""
    found = []
    for fast in (True, False):
        monkeypatch.setattr(training, "has_fast_bf16", lambda device, fast=fast: fast)
        after = apply("lipschitz", copy.deepcopy(trained), patterns, sigma=0.01, draws=3, lr=1e-3)
        found.append(torch.cat([each.detach().flatten() for each in after.parameters()]))
    before = torch.cat([each.detach().flatten() for each in trained.parameters()])
    assert float((found[1] - before).norm()) > 0.1
    torch.testing.assert_close(*found)

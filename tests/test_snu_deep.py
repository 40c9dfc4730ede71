"""What makes snu_deep itself, against computations that it does not share."""

import copy
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from conftest import block, pattern_data, rng, seeded
from scipy.special import softmax
from scipy.stats import rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import choose as _choose
from unsee.erasure import trained as trained_anew, unlearn
from unsee.errors import OptionError, UnseeWarning
from unsee.functional import few_shot_recall
from unsee.methods import METHODS, _discriminant as discriminant, _snu_deep
from unsee.methods._as_unseen import as_unseen
from unsee.methods._discriminant import Discriminant
from unsee.methods._silence import silence
from unsee.nouns import Config, Seen
from unsee.preparation import prepare
from unsee.training import counting, predict

DEEP = METHODS["snu_deep"]
LOOKS = 7  # one image each, to find the output layers and the stages


def choose(data, rule, **more):
    """Choose where a warning says that half of the test images are for tuning."""
    with warnings.catch_warnings():
        for words in ("half of the test images", ".* takes every training image of"):
            warnings.filterwarnings("ignore", words, UnseeWarning)
        return _choose(data, rule, **more)


def apply(model, split, seed=0, **more):
    return DEEP(model, split.forget, split.retain, rng=rng(seed), **more)


def clouds(n=400, size=6, seed=1):
    """Features of a forgotten class: those of what stays, stretched and turned, and shifted."""
    shape = torch.randn((size, size), generator=rng(seed)).double()
    kept = torch.randn((n, size), generator=rng(seed + 1)).double() @ shape
    return kept + torch.linspace(-1, 1, size), kept


def test_the_direction_is_fishers(monkeypatch):
    monkeypatch.setattr(discriminant, "RIDGE", 0.0)
    forgotten, kept = clouds()
    ours = Discriminant(forgotten, kept, torch.zeros(len(kept)).long(), torch.tensor([1.0]))
    both = np.concatenate([forgotten, kept]), np.repeat([1, 0], len(kept))
    theirs = torch.from_numpy(LinearDiscriminantAnalysis(solver="lsqr").fit(*both).coef_[0])
    cosine = torch.cosine_similarity(ours.direction, theirs, dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-6)
    assert (kept @ ours.direction).std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_the_distance_is_from_the_mix_of_classes_that_images_are_taken_for(monkeypatch):
    monkeypatch.setattr(discriminant, "RIDGE", 0.0)
    forgotten, kept = clouds()
    labels = torch.arange(len(kept)) % 2
    kept[labels == 1] += 3
    answer = torch.tensor([0.25, 0.75, 0.0])
    ours = Discriminant(forgotten, kept, labels, answer)
    centre = 0.25 * kept[labels == 0].mean(0) + 0.75 * kept[labels == 1].mean(0)
    wanted = (forgotten - centre) @ ours.direction
    assert torch.allclose(ours.along(forgotten), wanted)


def test_features_that_follow_the_discriminant_leave_a_linear_probe_nothing():
    """Features as free parameters: what is left of them is what no probe of scikit-learn finds."""
    forgotten, kept = clouds()
    forgotten, kept, labels = forgotten.float(), kept.float(), torch.zeros(len(kept)).long()
    ours = Discriminant(forgotten, kept, labels, torch.tensor([1.0]))

    def found(features):
        both = np.concatenate([features.detach(), kept]), np.repeat([1, 0], len(kept))
        return LogisticRegression(max_iter=1000).fit(*both).score(*both)

    before = found(forgotten)
    features = nn.Parameter(forgotten.clone())
    optimizer = torch.optim.SGD([features], lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        ours.see(features.detach(), kept, labels)
        ours.along(features).square().sum().mul(0.1).backward()
        optimizer.step()
    assert before > 0.7
    assert found(features) < 0.6  # of two alike, 0.5 and what chance adds


def of(odds, labels):
    """Answers of two classes whose log-odds of the own class are ``odds``."""
    logits = torch.zeros((len(odds), 2)).double()
    logits[torch.arange(len(odds)), labels] = odds.double()
    return Seen(labels, logits, torch.zeros((len(odds), 1)))


def test_an_image_gets_the_log_odds_of_an_unseen_one_as_hard_among_its_own():
    labels = torch.zeros(500).long()
    known = 3 * torch.randn(500, generator=rng(3))
    new = 2 * torch.randn(400, generator=rng(4)) - 1
    forget = of(known[:50], labels[:50])
    q = as_unseen(forget, of(known, labels), of(new, labels[:400]))
    assert torch.allclose(q.sum(1), torch.ones(50))
    share = (rankdata(known, method="min")[:50] - 0.5) / 501
    wanted = np.quantile(new.numpy(), share)
    assert np.allclose(torch.logit(q[:, 0].double()).numpy(), wanted, atol=1e-4)


def test_each_class_has_its_own_scale_where_there_are_enough():
    labels = torch.arange(400) % 2
    known, new = torch.full((400,), 2.0), torch.where(labels == 0, 1.0, -1.0)
    q = as_unseen(of(known[:2], labels[:2]), of(known, labels), of(new, labels))
    assert torch.logit(q[[0, 1], [0, 1]].double()).tolist() == pytest.approx([1, -1], abs=1e-4)
    few = as_unseen(of(known[:2], labels[:2]), of(known, labels), of(new[:40], labels[:40]))
    assert few[0, 0] == few[1, 1]  # twenty a class tell nothing by themselves


def test_the_other_classes_keep_their_proportions():
    logits = torch.tensor([[3.0, 1.0, 0.0]])
    seen = Seen(torch.tensor([0]), logits, torch.zeros((1, 1)))
    q = as_unseen(seen, seen, of(torch.tensor([-0.5]), torch.tensor([0])))[0]
    assert q[1] / q[2] == pytest.approx(np.exp(1.0), rel=1e-5)


def staged():
    """Two blocks, the second on smaller maps."""
    return nn.Sequential(
        block(1, 6),
        nn.MaxPool2d(2),
        block(6, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


@pytest.mark.parametrize("share, kept", [(0.0, set()), (0.5, {"0"}), (1.0, {"0"})])
def test_the_first_stages_keep_their_weights_and_statistics(patterns, share, kept):
    model = seeded(staged)
    after = apply(model, patterns, frozen=share).state_dict()
    still = {key.split(".")[0] for key, old in model.state_dict().items() if old.equal(after[key])}
    assert still == kept  # never the last stage


def test_whose_weights_were_frozen_before_keeps_them_frozen(trained, patterns):
    trained[0].requires_grad_(False)
    after = apply(trained, patterns, frozen=0.0)
    assert not any(weight.requires_grad for weight in after[0].parameters())
    assert all(weight.requires_grad for weight in after[1].parameters())
    assert torch.equal(after[0][0].weight, trained[0][0].weight)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("sigma", 0.0), ("temperature", 2.0), ("weight", 0.1), ("adversary", 0.0)),
        *(("kept", 0), ("batch", 3), ("kd", 1.0), ("epochs", 2), ("lr", 0.01)),
        ("depth", 1.0),
    ],
)
def test_every_number_counts(trained, patterns, name, value):
    plain, other = (apply(trained, patterns, **more).state_dict() for more in ({}, {name: value}))
    assert any(not torch.equal(plain[key], other[key]) for key in plain)


def patterned(bias=True):
    """Return an output layer for three classes, and what a model says of images that stay."""
    output = nn.Linear(4, 3, bias=bias)
    features = torch.randn((200, 4), generator=rng(1)).abs()
    with torch.no_grad():
        return output, Seen(torch.arange(200) % 2, 3 * output(features), features)


@pytest.mark.parametrize("bias", [True, False])
def test_a_silenced_row_is_as_deep_as_asked_and_against_the_mean_of_what_stays(bias):
    output, before = patterned(bias)
    others = output.weight[:2].clone()
    with torch.no_grad():
        now = Seen(before.labels, output(before.features), before.features)
        silence(output, now, before, (2,), 2.0)
        below = output(before.features)
    p = np.sort(softmax(before.logits.double().numpy(), axis=1), axis=1)
    wrong = np.log(p[:, :-1]).mean()  # of all classes but the answer
    mean = (below[:, 2] - below[:, :2].logsumexp(1)).mean().item()
    assert mean == pytest.approx(2 * wrong, rel=1e-4)
    assert torch.cosine_similarity(output.weight[2], -before.features.mean(0), dim=0) > 0.9999
    assert torch.equal(output.weight[:2], others)


def test_training_without_the_class_takes_its_row_to_the_same_place():
    """Descend for long on images of the other classes: the row ends against their mean."""
    output, before = patterned()
    labels = before.logits[:, :2].argmax(1)
    optimizer = torch.optim.SGD(output.parameters(), lr=0.5, weight_decay=1e-3)
    for _ in range(5000):
        optimizer.zero_grad()
        cross_entropy(output(before.features), labels).backward()
        optimizer.step()
    trained = output.weight[2].detach().clone()
    with torch.no_grad():
        silence(output, before, before, (2,), 2.0)
    assert torch.cosine_similarity(trained, output.weight[2].detach(), dim=0) > 0.8


def test_a_class_once_silent_is_not_brought_back_by_a_few_steps():
    model, split = digits("class=3")
    shallow, deep = (unlearn(model, split.forget, split.retain, depth=x) for x in (0.0, 2.0))
    odds = [predict(x, split.retain).logits.log_softmax(1)[:, 3].mean() for x in (shallow, deep)]
    assert odds[1] < odds[0] - 2
    same = [predict(x, split.test).logits[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]] for x in (shallow, deep)]
    assert torch.equal(*same)


def right(model, data):
    seen = predict(model, data)
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def loss(model, data):
    seen = predict(model, data)
    return float(cross_entropy(seen.logits.double(), seen.labels))


@cache
def digits(rule):
    """Return a small net that knows the digits, and what of them is to be forgotten."""
    job = prepare(Config(data="digits", arch="convnet", train_epochs=8, forget=rule))
    return trained_anew(job, None, "train"), job.split


def test_a_digit_is_forgotten_and_the_others_stay():
    model, split = digits("class=3")
    after = unlearn(model, split.forget, split.retain, guard=0.1)
    unseen = split.test.labels == 3
    kin, others = (split.test[rows.nonzero()[:, 0].numpy()] for rows in (unseen, ~unseen))
    assert right(after, split.forget) == 0 == right(after, kin)
    assert right(after, others) >= right(model, others) - 0.05

    def recall(model):
        kept, forget, unknown = (predict(model, x) for x in (split.retain, split.forget, kin))
        hits = few_shot_recall(
            kept.features, kept.labels, forget.features, unknown.features, rng=rng(), draws=20
        )
        return float(hits.double().mean())

    assert recall(after) <= recall(model) - 0.05  # not at the surface alone


@pytest.mark.filterwarnings("ignore:half of the test images")
def test_single_digits_that_were_known_no_better_than_unseen_ones_stay_so():
    """Images that are known by heart are hardly forgotten: README, where it falls short."""
    model, split = digits("random=10%")
    after = unlearn(model, split.forget, split.retain, validation=split.validation)
    for images in (split.retain, split.test):
        assert right(after, images) >= right(model, images) - 0.01
    assert abs(right(after, split.forget) - right(after, split.test)) <= 0.03
    before, now = (loss(each, split.test) - loss(each, split.forget) for each in (model, after))
    assert now <= max(before, 0.0) + 0.005  # how much surer it is of them than of unseen ones


def test_several_classes_do_not_become_each_other(trained, monkeypatch):
    split, taught, wanted = choose(pattern_data(), "class=b,c"), [], _snu_deep._wanted
    monkeypatch.setattr(_snu_deep, "_wanted", lambda *a: taught.append(wanted(*a)) or taught[0])
    after = apply(trained, split, epochs=6)
    assert float(taught[0][:, [1, 2]].sum()) == 0
    named = predict(after, split.forget).logits.argmax(1)
    assert split.gone == (1, 2)
    assert (named == 0).double().mean() >= 0.9


def test_single_images_are_not_pushed_out_of_their_class(trained):
    """What an unseen image of these easy patterns is told is its own class, nearly for sure."""
    data = pattern_data()
    split = choose(data, torch.arange(6), validate="single images")
    after = DEEP(trained, split.forget, split.retain, rng=rng(), validation=split.validation)
    seen = predict(after, split.forget)
    assert (seen.logits.argmax(1) == seen.labels).all()


def test_says_so_where_nothing_shows_how_unseen_images_look(trained, single):
    split = choose(pattern_data(), torch.arange(6))
    with pytest.warns(UnseeWarning, match="no validation images"):
        apply(trained, split)


def test_validation_images_are_wanted_for_single_images_alone(data):
    for rule, some in (("class=c", False), (torch.tensor([0, 1]), True)):
        wanted = DEEP.validates(tuned=False)
        bare = data[np.flatnonzero(data.parts != "validation")]
        assert bool(len(choose(bare, rule, validate=wanted).validation)) is some
    assert DEEP.validates(tuned=True) is True
    assert METHODS["finetune"].validates(tuned=False) is False


def test_without_a_buffer_mixtures_of_forgotten_images_stand_beside(trained, patterns):
    after = DEEP(
        trained, patterns.forget, patterns.retain[:0], rng=rng(), gone=patterns.gone, epochs=4
    )
    named = predict(after, patterns.forget)
    assert not (named.logits.argmax(1) == named.labels).any()
    for name, module in trained.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            mean = after.get_submodule(name).running_mean
            assert torch.equal(module.running_mean, mean)


def test_what_is_counted_is_what_is_shown(trained, patterns):
    """24 forget, 48 retain images: once for the answers, twelve passes of two steps, a look."""
    with counting() as spent:
        apply(trained, patterns, batch=12)
    beside = 24  # of 48 images two batches of at most 32
    assert len(patterns.forget) == 24 and len(patterns.retain) == 48
    assert sum(spent) == pytest.approx(
        LOOKS / 3 + (24 + 48 + 48) / 3 + 24 * (12 + beside * (1 + 1 / 3))
    )


def test_a_handful_of_images_is_passed_over_again(trained, patterns):
    with counting() as spent:
        DEEP(trained, patterns.forget[:1], patterns.retain, rng=rng(), gone=(2,))
    assert sum(spent) == pytest.approx(LOOKS / 3 + (1 + 48 + 48) / 3 + 24 * (1 + 24 * (1 + 1 / 3)))


@pytest.mark.parametrize("forget, kept", [(1, 0), (1, 1), (24, 1)])
def test_one_image_is_enough_to_forget_or_to_keep(trained, patterns, forget, kept):
    after = DEEP(
        trained, patterns.forget[:forget], patterns.retain[:kept], rng=rng(), gone=patterns.gone
    )
    assert all(bool(weight.isfinite().all()) for weight in after.parameters())


def test_single_images_beside_a_forgotten_class_do_not_name_it(trained):
    data = pattern_data()
    labels = data.labels.numpy()
    both = (data.parts == "train") & ((labels == 2) | (np.arange(len(data)) < 6))
    split = choose(data, np.flatnonzero(both), validate="single images")
    assert split.gone == (2,)
    after = DEEP(
        trained, split.forget, split.retain, rng=rng(), validation=split.validation, epochs=2
    )
    assert (predict(after, split.forget).logits.argmax(1) == 2).double().mean() <= 0.1


def test_without_a_buffer_images_rank_among_themselves(trained, monkeypatch):
    from unsee.methods import _snu_deep

    told = []
    monkeypatch.setattr(_snu_deep, "as_unseen", lambda *seen: told.append(seen) or as_unseen(*seen))
    split = choose(pattern_data(), torch.arange(6), validate="single images")
    DEEP(trained, split.forget, split.retain[:0], rng=rng(), gone=(), validation=split.validation)
    forget, known, _ = told[0]
    assert torch.equal(forget.logits, known.logits)


def test_a_share_of_more_than_all_is_refused(trained, patterns):
    with pytest.raises(OptionError, match="kd in 0..1, got 2"):
        apply(trained, patterns, kd=2.0)


def test_the_original_is_not_changed_by_its_second_output_layer(trained, patterns):
    before = copy.deepcopy(trained.state_dict())
    apply(trained, patterns)
    assert all(torch.equal(before[key], value) for key, value in trained.state_dict().items())


def test_where_a_single_class_stays_its_images_are_told_that_class(patterns):
    logits = torch.tensor([[1.0, -torch.inf], [0.2, -torch.inf]])
    seen = Seen(torch.tensor([0, 0]), logits, torch.zeros(2, 3))
    assert torch.equal(as_unseen(seen, seen, seen), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

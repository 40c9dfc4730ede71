import math

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from unsee.functional import called_members, learned_scores, margin, membership_scores


def test_every_score_by_hand_on_two_images_of_three_classes():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
    found = membership_scores(p.log(), torch.tensor([0, 1]))
    ln = math.log
    by_hand = {
        "loss": [ln(0.5), ln(0.2)],
        "confidence": [0.5, 0.7],
        "entropy": [
            0.5 * ln(0.5) + 0.3 * ln(0.3) + 0.2 * ln(0.2),
            0.1 * ln(0.1) + 0.2 * ln(0.2) + 0.7 * ln(0.7),
        ],
        "modified_entropy": [
            0.5 * ln(0.5) + 0.3 * ln(0.7) + 0.2 * ln(0.8),
            0.8 * ln(0.2) + 0.1 * ln(0.9) + 0.7 * ln(0.3),
        ],
        "margin": [ln(0.5 / 0.3), ln(0.2 / 0.7)],
    }
    assert found.keys() == by_hand.keys()
    for name, values in by_hand.items():
        assert found[name].tolist() == pytest.approx(values), name


def test_the_scores_agree_with_scipy():
    logits, labels = torch.randn(300, 7, generator=rng()) * 3, torch.arange(300) % 7
    found = membership_scores(logits, labels)
    x, rows = logits.double().numpy(), np.arange(300)
    assert found["loss"].numpy() == pytest.approx(log_softmax(x, 1)[rows, labels])
    assert found["confidence"].numpy() == pytest.approx(softmax(x, 1).max(1))
    assert found["entropy"].numpy() == pytest.approx(-entropy(softmax(x, 1), axis=1))
    others = np.array([np.delete(row, y) for row, y in zip(x, labels, strict=True)])
    assert found["margin"].numpy() == pytest.approx(x[rows, labels] - others.max(1))
    expected = x[rows, labels] - logsumexp(others, axis=1)
    assert margin(logits, labels).numpy() == pytest.approx(expected)
    p = softmax(x, 1)
    for row, y in enumerate(labels.tolist()):  # the definition, entry by entry
        rest = sum(p[row, i] * math.log(1 - p[row, i]) for i in range(7) if i != y)
        own = (1 - p[row, y]) * math.log(p[row, y])
        assert float(found["modified_entropy"][row]) == pytest.approx(own + rest)


def test_a_sure_answer_is_not_lost_in_rounding():
    """1 - p is 1e-44 and 1e-131 here, far below what 1.0 can be told from."""
    logits = torch.tensor([[100.0, 0.0, -300.0], [300.0, 0.0, -300.0]])
    right = membership_scores(logits, torch.tensor([0, 0]))
    assert (right["loss"] < 0).all() and right["loss"][0] < right["loss"][1]
    assert right["loss"].tolist() == pytest.approx([-math.exp(-100), -math.exp(-300)], rel=1e-9)
    assert right["entropy"][0].item() == pytest.approx(-101 * math.exp(-100), rel=1e-9)
    wrong = membership_scores(logits, torch.tensor([1, 1]))
    assert wrong["modified_entropy"].tolist() == pytest.approx([-200, -600])


def test_logits_of_minus_ten_thousand_and_ties_give_finite_scores():
    logits = torch.tensor([[-1e4, 0.0, 0.0], [-1e4, 1e4, -1e4], [0.0, 0.0, 0.0]])
    for labels in ([0, 0, 0], [1, 1, 1]):
        for name, score in membership_scores(logits, torch.tensor(labels)).items():
            assert score.isfinite().all(), name
            assert (score <= 1).all() or name == "margin"


def test_the_margin_is_the_lead_over_the_best_other_class_and_no_function_of_the_loss():
    logits, labels = torch.randn(50, 4, generator=rng()), torch.arange(50) % 4
    found = membership_scores(logits, labels)
    table = logits.double().numpy()
    by_hand = [row[y] - max(np.delete(row, y)) for row, y in zip(table, labels, strict=True)]
    assert found["margin"].numpy() == pytest.approx(by_hand)
    assert not torch.equal(found["margin"].argsort(), found["loss"].argsort())


# The attacks that learn.


def images(n, sure, seed):
    labels = torch.arange(n) % 4
    logits = torch.randn(n, 4, generator=rng(seed))
    logits[range(n), labels] += sure
    return logits, labels


def test_the_learned_attack_sees_what_no_single_score_shows():
    """Members are sure or unsure, others in between: every threshold on one score is blind."""
    member, labels = images(400, 0.0, 0)
    member *= torch.where(torch.arange(400) % 8 < 4, 0.05, 6.0)[:, None]
    other, other_labels = images(400, 0.0, 1)
    scores = learned_scores(member, labels, other, other_labels, rng=rng())
    assert scores is not None
    assert roc_auc_score([1] * 400 + [0] * 400, torch.cat(scores).numpy()) > 0.8


def test_no_image_is_scored_by_a_fit_that_saw_it():
    """A fit on 14 features tells 12 + 12 random images apart if it has seen them."""
    areas = []
    for seed in range(60):
        (a, la), (b, lb) = images(12, 0.0, 2 * seed), images(12, 0.0, 2 * seed + 1)
        scores = learned_scores(a, la, b, lb, rng=rng(seed))
        areas.append(roc_auc_score([1] * 12 + [0] * 12, torch.cat(scores).numpy()))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 60**0.5)
    logits, _ = images(24, 0.0, 0)
    seen = LogisticRegression(C=100.0, max_iter=1000).fit(logits, [1] * 12 + [0] * 12)
    assert roc_auc_score([1] * 12 + [0] * 12, seen.decision_function(logits)) > 0.7


def test_the_learned_attack_needs_two_images_of_a_kind_in_each_fold():
    many, few = images(20, 0.0, 0), images(9, 0.0, 1)
    assert learned_scores(*many, *few, rng=rng()) is None
    assert learned_scores(*few, *many, rng=rng()) is None
    ours, theirs = learned_scores(*images(10, 0.0, 1), *many, rng=rng())
    assert (len(ours), len(theirs)) == (10, 20)


def test_answers_that_are_all_alike_teach_nothing():
    flat, labels = torch.zeros(30, 4), torch.zeros(30).long()
    ours, theirs = learned_scores(flat, labels, flat, labels, rng=rng())
    assert torch.equal(ours, torch.zeros(30).double()) and torch.equal(theirs, ours)


def test_the_published_machine_is_scikit_learn_s_on_all_images_where_they_are_few():
    p = [
        torch.rand(n, generator=rng(seed)) ** power for n, seed, power in ((60, 0, 0.3), (60, 1, 1))
    ]
    asked = torch.rand(40, generator=rng(2))
    svc = SVC(C=3, gamma="auto", kernel="rbf")
    svc.fit(torch.cat(p).double()[:, None].numpy(), [1] * 60 + [0] * 60)
    expected = svc.predict(asked.double()[:, None].numpy())
    called = called_members(*p, asked, rng=rng())
    assert called.tolist() == (expected == 1).tolist()
    assert 0 < called.double().mean() < 1


def test_the_published_machine_is_fitted_to_equally_many_of_each_kind_and_at_most_a_thousand(
    monkeypatch,
):
    seen = []
    fit = SVC.fit

    def noted(self, x, y):
        seen.append((int((y == 1).sum()), int((y == 0).sum())))
        return fit(self, x, y)

    monkeypatch.setattr(SVC, "fit", noted)
    p = torch.rand(1500, generator=rng())
    for retain, test in ((p, p[:30]), (p, p), (p[:7], p)):
        called_members(retain, test, p[:5], rng=rng())
    assert seen == [(30, 30), (1000, 1000), (7, 7)]

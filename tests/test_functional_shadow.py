import math

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import binomtest, norm, t as student
from sklearn.metrics import roc_auc_score

from unsee.errors import FleetError
from unsee.functional import (
    klom,
    logit_scaled_confidence,
    rmia_scores,
    still_remembered,
    ulira_scores,
)


def fleet(k, n, mean=0.0, spread=1.0, seed=0):
    return mean + spread * torch.randn(k, n, generator=rng(seed)).double()


def test_logit_scaled_confidence_by_hand_and_where_a_probability_would_round_to_one():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
    phi = logit_scaled_confidence(p.log(), torch.tensor([0, 2]))
    assert phi.tolist() == pytest.approx([0.0, math.log(0.7 / 0.3)], abs=1e-12)
    sure = torch.tensor([[200.0, 0.0], [0.0, 200.0]])
    assert logit_scaled_confidence(sure, torch.tensor([0, 0])).tolist() == [200, -200]


# U-LiRA.


def test_ulira_is_the_share_of_one_density_among_two():
    """From 16 models a side every image has its own variance."""
    ours, theirs, target = fleet(20, 5, 1.0, 2.0), fleet(16, 5, seed=1), fleet(1, 5, seed=2)[0]
    scores = ulira_scores(target, ours, theirs)
    u, o, x = (y.numpy() for y in (ours, theirs, target))
    density = [norm.pdf(x, y.mean(0), y.std(0, ddof=1)) for y in (u, o)]
    assert scores.numpy() == pytest.approx(density[0] / (density[0] + density[1]))


def test_ulira_of_few_models_pools_the_variance_over_images():
    ours, theirs, target = fleet(15, 40, 1.0, 2.0), fleet(16, 40, seed=1), fleet(1, 40, seed=2)[0]
    scores = ulira_scores(target, ours, theirs)
    u, o, x = (y.numpy() for y in (ours, theirs, target))
    deviations = [math.sqrt(y.var(0, ddof=1).mean()) for y in (u, o)]
    density = [norm.pdf(x, y.mean(0), d) for y, d in zip((u, o), deviations, strict=True)]
    assert scores.numpy() == pytest.approx(density[0] / (density[0] + density[1]))


def test_ulira_tells_an_unlearned_model_from_a_retrained_one_as_well_as_normals_allow():
    """Means one apart: the best possible AUC is Phi(1 / sqrt 2)."""
    ours, theirs = fleet(64, 2000, 1.0), fleet(64, 2000, seed=1)
    positive = ulira_scores(fleet(1, 2000, 1.0, seed=2)[0], ours, theirs)
    negative = ulira_scores(fleet(1, 2000, seed=3)[0], ours, theirs)
    area = roc_auc_score([1] * 2000 + [0] * 2000, torch.cat([positive, negative]).numpy())
    assert area == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.03)


def test_ulira_of_far_away_values_and_of_equal_models_is_finite():
    same = torch.zeros(4, 3)
    scores = ulira_scores(torch.tensor([0.0, 1e4, -1e4]), same, same)
    assert scores.tolist() == [0.5, 0.5, 0.5]
    far = ulira_scores(torch.tensor([1e4]), fleet(4, 1, 1.0), fleet(4, 1, seed=1))
    assert far.isfinite().all()


# RMIA.


def test_rmia_by_hand():
    target, population = torch.tensor([0.9, 0.2]), torch.tensor([0.5, 0.6, 0.4])
    references = torch.tensor([[0.5, 0.4], [0.7, 0.2]])
    beside = torch.tensor([[0.5, 0.2, 0.9]])
    found = rmia_scores(target, references, population, beside)
    ratio = [0.9 / (0.65 * 0.6 + 0.35), 0.2 / (0.65 * 0.3 + 0.35)]
    against = [0.5 / (0.65 * 0.5 + 0.35), 0.6 / (0.65 * 0.2 + 0.35), 0.4 / (0.65 * 0.9 + 0.35)]
    by_hand = [sum(x / z > 1 for z in against) / 3 for x in ratio]
    assert found.tolist() == pytest.approx(by_hand) and by_hand == [pytest.approx(2 / 3), 0]
    twice = rmia_scores(target, references, population, beside, gamma=2.0)
    assert twice.tolist() == pytest.approx([sum(x / z > 2 for z in against) / 3 for x in ratio])


def test_rmia_agrees_with_all_pairs_and_survives_a_probability_of_zero():
    g = rng()
    target, population = torch.rand(50, generator=g), torch.rand(70, generator=g)
    population[:5] = 0
    references, beside = torch.rand(3, 50, generator=g), torch.rand(3, 70, generator=g)
    found = rmia_scores(target, references, population, beside, a=0.6, gamma=1.2)
    x, z = (
        (p.double() / (0.8 * r.double().mean(0) + 0.2)).numpy()
        for p, r in ((target, references), (population, beside))
    )
    assert found.numpy() == pytest.approx((x[:, None] > 1.2 * z[None]).mean(1))


def test_rmia_needs_no_calibration_to_find_what_only_the_target_is_sure_of():
    g = rng()
    hard = torch.rand(400, generator=g) * 0.4
    references = (hard + 0.1 * torch.rand(4, 400, generator=g)).clamp(0, 1)
    member = (hard + 0.4).clamp(0, 1)
    population = torch.rand(500, generator=g)
    scores = [
        rmia_scores(x, references, population, population.expand(4, -1)) for x in (member, hard)
    ]
    assert roc_auc_score([1] * 400 + [0] * 400, torch.cat(scores).numpy()) > 0.9


# KLoM.


def test_klom_of_few_models_is_the_divergence_of_two_normals_by_integration():
    ours, theirs = fleet(12, 3, 1.0, 1.5), fleet(9, 3, seed=1)
    values, form = klom(ours, theirs)
    assert form == "gaussian"
    for n in range(3):
        (mu, s), (m, d) = ((x[:, n].mean().item(), x[:, n].std().item()) for x in (ours, theirs))

        def integrand(x, mu=mu, s=s, m=m, d=d):
            return norm.pdf(x, mu, s) * (norm.logpdf(x, mu, s) - norm.logpdf(x, m, d))

        assert float(values[n]) == pytest.approx(quad(integrand, mu - 12 * s, mu + 12 * s)[0])


def test_klom_of_fifty_models_a_side_is_the_published_histogram():
    ours, theirs = fleet(60, 8, 30.0, 50.0), fleet(50, 8, 0.0, 50.0, seed=1)
    assert ours.max() > 110 and theirs.min() < -110  # is cut at 100
    values, form = klom(ours, theirs)
    assert form == "histogram"
    for n in range(8):
        u, o = (np.clip(x[:, n].numpy(), -100, 100) for x in (ours, theirs))
        bins = np.linspace(min(u.min(), o.min()), max(u.max(), o.max()), 21)
        p, q = (np.histogram(x, bins)[0] / len(x) for x in (u, o))
        expected = sum(a * math.log(a / max(b, 1e-5)) for a, b in zip(p, q, strict=True) if a > 0)
        assert float(values[n]) == pytest.approx(expected)


def test_klom_of_the_same_models_is_nothing_in_both_forms():
    for k, form in ((8, "gaussian"), (50, "histogram")):
        values, used = klom(fleet(k, 4), fleet(k, 4))
        assert used == form and values.tolist() == pytest.approx([0] * 4, abs=1e-9)
    values, _ = klom(torch.ones(50, 2), torch.ones(50, 2))
    assert values.tolist() == [0, 0]


# What is still remembered.


def test_one_more_retrained_model_is_judged_by_the_t_distribution():
    oracles, target = fleet(16, 6), fleet(1, 6, seed=1)[0]
    z, p, flagged = still_remembered(target, oracles)
    o = oracles.numpy()
    expected = (target.numpy() - o.mean(0)) / (o.std(0, ddof=1) * math.sqrt(1 + 1 / 16))
    assert z.numpy() == pytest.approx(expected)
    assert p.numpy() == pytest.approx(2 * student.cdf(-abs(expected), 15))
    assert flagged.dtype == torch.bool and flagged.shape == (6,)


def test_the_images_named_are_those_of_benjamini_and_hochberg_step_by_step():
    oracles = fleet(20, 200)
    target = fleet(1, 200, seed=1)[0]
    target[:30] += 6
    target[30:35] -= 6
    z, p, flagged = still_remembered(target, oracles)
    order = sorted(range(200), key=lambda i: p[i].item())
    passed = [rank for rank, i in enumerate(order, 1) if p[i] <= 0.05 * rank / 200]
    assert {*flagged.nonzero()[:, 0].tolist()} == {*order[: max(passed)]}
    assert flagged[:30].sum() > 20 and (z[:30][flagged[:30]] > 0).all()
    assert flagged[30:35].any()  # what is known too little is named as well


def test_a_retrained_model_is_hardly_ever_accused_of_remembering():
    alarms, low = 0, 0
    for seed in range(200):
        models = fleet(17, 50, seed=seed)
        _, p, flagged = still_remembered(models[0], models[1:])
        alarms, low = alarms + bool(flagged.any()), low + int((p <= 0.05).sum())
    assert binomtest(low, 200 * 50, 0.05).pvalue > 0.001
    assert binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.001


def test_the_order_of_images_and_of_models_changes_no_score():
    order, turned = torch.randperm(30, generator=rng()), torch.arange(17).flip(0)
    target, ours, theirs = fleet(1, 30)[0], fleet(17, 30, 0.5, seed=1), fleet(17, 30, seed=2)
    mixed = [x[..., order] for x in (target, ours[turned], theirs[turned])]
    assert torch.allclose(ulira_scores(target, ours, theirs)[order], ulira_scores(*mixed))
    assert torch.allclose(klom(ours, theirs)[0][order], klom(*mixed[1:])[0])
    plain, other = still_remembered(target, theirs), still_remembered(mixed[0], mixed[2])
    assert all(
        torch.allclose(a[order].double(), b.double()) for a, b in zip(plain, other, strict=True)
    )
    p, q, z = (torch.from_numpy(expit(x.numpy())) for x in (target, theirs, fleet(1, 40)[0]))
    plain = rmia_scores(p, q, z, z[None])
    assert torch.equal(plain[order], rmia_scores(p[order], q[:, order], z.flip(0), z.flip(0)[None]))


@pytest.mark.parametrize(
    "ask, text",
    [
        (
            lambda: ulira_scores(fleet(1, 5)[0], fleet(3, 5), fleet(9, 5)),
            "4 unlearned models, got 3",
        ),
        (
            lambda: ulira_scores(fleet(1, 5)[0], fleet(9, 5), fleet(3, 5)),
            "4 retrained models, got 3",
        ),
        (
            lambda: rmia_scores(fleet(1, 5)[0], fleet(0, 5), fleet(1, 5)[0], fleet(1, 5)),
            "1 retrained models, got 0",
        ),
        (lambda: klom(fleet(3, 5), fleet(4, 5)), "4 unlearned models, got 3"),
        (lambda: klom(fleet(60, 5), fleet(2, 5)), "4 retrained models, got 2"),
        (lambda: still_remembered(fleet(1, 5)[0], fleet(15, 5)), "16 retrained models, got 15"),
    ],
)
def test_too_few_models_are_refused_with_the_number_needed(ask, text):
    with pytest.raises(FleetError, match=f"expected at least {text}: train more"):
        ask()
    assert FleetError.exit_code == 2

import math

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve as sk_roc_curve

from unsee.functional import (
    auc_interval,
    clopper_pearson,
    epsilon_bound,
    exact_share,
    roc_curve,
    tpr_at_fpr,
    two_sided,
)
from unsee.nouns import Measurement


def normals(n, m, shift, seed=0):
    g = rng(seed)
    return torch.randn(n, generator=g).double() + shift, torch.randn(m, generator=g).double()


def coarse(n, m, steps=12, seed=0):
    """Scores with many ties."""
    return (torch.randint(steps, (k,), generator=rng(seed + k)).double() for k in (n, m))


def truth(positive, negative):
    return [1] * len(positive) + [0] * len(negative), torch.cat([positive, negative]).numpy()


@pytest.mark.parametrize("level", [0.95, 0.99])
def test_clopper_pearson_is_scipy_s_exact_interval(level):
    low, high = clopper_pearson(np.arange(12), 11, level)
    for k in range(12):
        exact = binomtest(k, 11).proportion_ci(level, method="exact")
        assert (low[k], high[k]) == pytest.approx((exact.low, exact.high))
        m = exact_share(k, 11, level)
        assert (m.value, m.low, m.high, m.n) == pytest.approx((k / 11, *exact, 11))


# Area.


def test_the_area_is_scikit_learn_s_with_ties_too():
    for pair in (normals(70, 110, 0.7), tuple(coarse(70, 110))):
        m = auc_interval(*pair)
        assert m.value == pytest.approx(roc_auc_score(*truth(*pair)))
        assert m.low < m.value < m.high and m.n == 180


def test_delong_s_variance_by_hand():
    """DeLong's components from all pairs, as the paper writes them."""
    positive, negative = (x.numpy() for x in coarse(25, 40))
    pairs = np.sign(positive[:, None] - negative[None]) / 2 + 0.5
    se = math.sqrt(pairs.mean(1).var(ddof=1) / 25 + pairs.mean(0).var(ddof=1) / 40)
    m = auc_interval(*map(torch.from_numpy, (positive, negative)))
    a = pairs.mean()
    odds, reach = math.log(a / (1 - a)), norm.ppf(0.975) * se / (a * (1 - a))
    ends = [1 / (1 + math.exp(-x)) for x in (odds - reach, odds + reach)]
    assert (m.value, m.low, m.high) == pytest.approx((a, *ends))


def test_the_interval_agrees_with_a_bootstrap():
    positive, negative = normals(400, 300, 0.8)
    draw = np.random.default_rng(0)
    redrawn = [
        roc_auc_score(
            *truth(*(torch.from_numpy(draw.choice(x, len(x))) for x in (positive, negative)))
        )
        for _ in range(500)
    ]
    m = auc_interval(positive, negative)
    assert (m.low, m.high) == pytest.approx(np.quantile(redrawn, [0.025, 0.975]), abs=0.006)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_interval_covers_the_area_of_two_normals_as_often_as_it_says(shift):
    area = norm.cdf(shift / math.sqrt(2))
    covered = 0
    for seed in range(400):
        m = auc_interval(*normals(60, 40, shift, seed))
        covered += m.low <= area <= m.high
    assert binomtest(covered, 400, 0.95).pvalue > 0.001, covered


def test_exchanged_sets_have_the_mirrored_interval():
    one, other = auc_interval(*normals(50, 80, 1)), auc_interval(*reversed(normals(50, 80, 1)))
    assert (one.value, one.low, one.high) == pytest.approx(
        (1 - other.value, 1 - other.high, 1 - other.low)
    )


def test_sets_that_nowhere_overlap_leave_a_doubt_that_falls_with_their_size():
    for n in (1, 20, 1000):
        up = auc_interval(torch.ones(n), torch.zeros(2000))
        exact = binomtest(n, n).proportion_ci(method="exact")
        assert (up.value, up.high) == (1, 1) and up.low == pytest.approx(exact.low)
        down = auc_interval(torch.zeros(n), torch.ones(2000))
        assert (down.value, down.low) == (0, 0) and down.high == pytest.approx(1 - exact.low)


def test_all_ties_are_a_half_with_an_interval_around_it():
    m = auc_interval(torch.ones(30), torch.ones(50))
    assert m.value == 0.5 and 0.3 < m.low < 0.5 < m.high < 0.7


def test_cross_fitted_scores_have_the_corrected_variance():
    pair = normals(200, 200, 0.0)
    plain, folded = auc_interval(*pair), auc_interval(*pair, folds=5)

    def width(m):
        return math.log(m.high / (1 - m.high)) - math.log(m.low / (1 - m.low))

    assert width(folded) / width(plain) == pytest.approx(math.sqrt(1 + 5 / 4))
    assert folded.value == plain.value


@pytest.mark.parametrize(
    "area, expected",
    [
        ((0.7, 0.6, 0.8), (0.7, 0.6, 0.8)),
        ((0.3, 0.2, 0.4), (0.7, 0.6, 0.8)),
        ((0.45, 0.3, 0.6), (0.55, 0.5, 0.7)),
        ((0.52, 0.48, 0.56), (0.52, 0.5, 0.56)),
    ],
)
def test_two_sided_folds_value_and_interval_at_a_half(area, expected):
    m = two_sided(Measurement(*area, 10))
    assert (m.value, m.low, m.high, m.n) == pytest.approx((*expected, 10))


# Operating points.


def test_the_tpr_is_the_best_point_of_scikit_learn_s_curve_within_the_fpr():
    for pair in (normals(300, 200, 1.0), tuple(coarse(300, 200))):
        fpr, tpr, _ = sk_roc_curve(*truth(*pair), drop_intermediate=False)
        for goal in (0.0, 0.004, 0.005, 0.01, 0.07, 0.29, 0.5, 0.58, 1.0):
            got, used = tpr_at_fpr(*pair, goal)
            within = fpr <= goal + 1e-12
            assert got.value == pytest.approx(tpr[within].max())
            assert used.value <= goal + 1e-12 and used.n == 200 and got.n == 300


def test_the_tpr_of_two_normals_is_the_closed_form():
    positive, negative = normals(20000, 20000, 1.5)
    for goal in (0.01, 0.001):
        exact = norm.cdf(1.5 + norm.ppf(goal))
        m, _ = tpr_at_fpr(positive, negative, goal)
        error = 3 * math.sqrt(goal / 20000) * norm.pdf(norm.ppf(exact)) / norm.pdf(norm.ppf(goal))
        assert m.value == pytest.approx(exact, abs=error + 3 * math.sqrt(exact / 20000))


def test_ties_never_raise_the_fpr_above_what_was_asked():
    tpr, fpr = tpr_at_fpr(torch.ones(50), torch.ones(100), 0.1)
    assert tpr.value == fpr.value == 0
    tpr, fpr = tpr_at_fpr(torch.tensor([3.0, 2.0]), torch.tensor([2.0, 2.0, 1.0, 0.0]), 0.25)
    assert (tpr.value, fpr.value) == (0.5, 0.0)


def test_every_point_of_the_curve_lies_on_scikit_learn_s():
    for pair in (normals(300, 5000, 1.0), tuple(coarse(300, 5000, 100)), normals(40, 7, 0.5)):
        fpr, tpr, low, high = roc_curve(*pair)
        theirs = {}
        for x, y in zip(*sk_roc_curve(*truth(*pair), drop_intermediate=False)[:2], strict=True):
            theirs[round(x, 9)] = max(y, theirs.get(round(x, 9), 0))
        assert [theirs[round(x, 9)] for x in fpr] == pytest.approx(tpr.tolist())
        assert len(fpr) <= 200 and (np.diff(fpr) > 0).all() and (np.diff(tpr) >= 0).all()
        assert (fpr[-1], tpr[-1]) == (1, 1) and fpr[0] >= 1 / len(pair[1])
        hits = (tpr * len(pair[0])).round().astype(int)
        for place in (0, len(fpr) // 2, -1):
            exact = binomtest(hits[place], len(pair[0])).proportion_ci(method="exact")
            assert (low[place], high[place]) == pytest.approx((exact.low, exact.high))


def test_a_curve_without_ties_begins_at_one_false_alarm():
    assert roc_curve(*normals(30, 50, 1))[0, 0] == 1 / 50
    assert roc_curve(torch.ones(3), torch.ones(5)).tolist()[:2] == [[1], [1]]


# Epsilon.


def flipped(n, p, seed):
    """Randomised response: the true bit with probability ``p``."""
    return (torch.rand(n, generator=rng(seed)) < p).double()


@pytest.mark.parametrize("turn", [1, -1], ids=["members above", "members below"])
def test_the_bound_comes_close_to_the_epsilon_of_randomised_response_and_stays_below(turn):
    """It tells the truth with probability e^eps / (1 + e^eps): TPR / FPR is e^eps exactly."""
    exact = 2.0
    p = math.exp(exact) / (1 + math.exp(exact))
    m = epsilon_bound(turn * flipped(8000, p, 0), turn * flipped(8000, 1 - p, 1), rng=rng())
    assert 0.85 * exact < m.value < exact
    assert m.low == m.value == m.high and m.n == 8000


def test_the_bound_by_hand_where_there_is_one_threshold_to_choose():
    ours, theirs = torch.tensor([1.0] * 400), torch.tensor([0.0] * 400)
    m = epsilon_bound(ours, theirs, rng=rng())
    all_of = binomtest(200, 200).proportion_ci(0.95, method="exact").low
    none_of = binomtest(0, 200).proportion_ci(0.95, method="exact").high
    assert m.value == pytest.approx(math.log(all_of / none_of))
    less = epsilon_bound(ours, theirs, rng=rng(), delta=0.1)
    assert less.value == pytest.approx(math.log((all_of - 0.1) / none_of))


def test_the_complement_shows_what_the_members_called_so_do_not():
    """Half of the negatives and 1 % of the positives are low: not being low proves little."""
    ours, theirs = -flipped(4000, 0.01, 0), -flipped(4000, 0.5, 1)
    m = epsilon_bound(ours, theirs, rng=rng())
    best_of_the_plain_side = math.log(0.99 / 0.5)
    assert best_of_the_plain_side < 3 < m.value < math.log(0.5 / 0.01)


def test_the_bound_exceeds_the_truth_in_at_most_five_percent():
    """Randomised response again: epsilon is 0.4 exactly."""
    exact, over, shown = 0.4, 0, 0
    p = math.exp(exact) / (1 + math.exp(exact))
    for seed in range(300):
        pair = flipped(400, p, 2 * seed), flipped(400, 1 - p, 2 * seed + 1)
        value = epsilon_bound(*pair, rng=rng(seed)).value
        over, shown = over + (value > exact), shown + (value > 0)
    assert binomtest(over, 300, 0.05, alternative="greater").pvalue > 0.001
    assert shown > 100


def test_the_choice_among_many_thresholds_is_paid_for_by_the_other_half():
    """Nothing tells the sets apart, and yet one of 200 thresholds would seem to."""
    shown = sum(
        epsilon_bound(*normals(1000, 1000, 0.0, seed), rng=rng(seed)).value > 0
        for seed in range(300)
    )
    assert shown <= 3  # two bounds at 97.5 % that have to fail at once


def test_the_bound_does_not_mind_the_order_of_images_and_needs_two_of_a_kind():
    ours, theirs = normals(100, 90, 2.0)
    plain = epsilon_bound(ours, theirs, rng=rng())
    assert plain == epsilon_bound(
        ours.flip(0), theirs[torch.randperm(90, generator=rng())], rng=rng()
    )
    assert epsilon_bound(ours[:1], theirs, rng=rng()) is None
    assert epsilon_bound(ours, theirs[:1], rng=rng()) is None
    assert epsilon_bound(ours[:2], theirs[:2], rng=rng()).value == 0


@pytest.mark.parametrize("p", [2, 3, 5, 9])
def test_intervals_of_few_scores_hold_chance_as_often_as_they_say(p):
    draws, n = 400, 300
    for level, least in ((0.95, 0.93), (0.996, 0.985)):
        found = [
            auc_interval(
                torch.rand(p, generator=rng(s)), torch.rand(n, generator=rng(-1 - s)), level
            )
            for s in range(draws)
        ]
        assert sum(x.low <= 0.5 <= x.high for x in found) / draws >= least
        if level == 0.95:  # and no wider than they have to be
            widths = sorted(x.high - x.low for x in found)
            assert widths[draws // 2] < {2: 1.0, 3: 0.95, 5: 0.75, 9: 0.5}[p]


def test_more_than_a_few_scores_have_the_interval_of_delong():
    ours, theirs = torch.rand(10, generator=rng(1)), torch.rand(40, generator=rng(2))
    found, placed = auc_interval(ours, theirs), (ours[:, None] > theirs).double()
    variance = placed.mean(1).var() / 10 + placed.mean(0).var() / 40
    odds, slope = math.log(found.value / (1 - found.value)), found.value * (1 - found.value)
    ends = [
        1 / (1 + math.exp(-odds - side * 1.959964 * float(variance.sqrt()) / slope))
        for side in (-1, 1)
    ]
    assert [found.low, found.high] == pytest.approx(ends, rel=1e-5)

import math

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from unsee.functional import (
    balanced,
    information,
    knn_purity,
    linear_cka,
    neighbour_overlap,
    recovered_labels,
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=rng(seed))


def rotation(d, seed=5):
    return torch.linalg.qr(normal(d, d, seed=seed).double())[0]


def hsic(k, m):
    """The unbiased estimate by its definition, with loops over images."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def cka(x, y, estimate=hsic):
    k, m = x @ x.T, y @ y.T
    return estimate(k, m) / math.sqrt(estimate(k, k) * estimate(m, m))


def biased(k, m):
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ m @ h)


def jackknife(x, y, estimate, groups=20):
    group = np.arange(len(x)) % groups
    left = np.array([cka(x[group != g], y[group != g], estimate) for g in range(groups)])
    return math.sqrt((groups - 1) / groups * ((left - left.mean()) ** 2).sum())


@pytest.mark.parametrize("d, e", [(4, 3), (70, 60)], ids=["by features", "by images"])
@pytest.mark.parametrize("estimate", [hsic, biased])
def test_cka_and_its_interval_are_those_of_the_definition(d, e, estimate):
    x = normal(50, d) + 3
    y = x[:, :1] * normal(1, e, seed=1) + normal(50, e, seed=2)
    found = linear_cka(x, y, debiased=estimate is hsic)
    a, b = x.double().numpy(), y.double().numpy()
    assert found.value == pytest.approx(cka(a, b, estimate), abs=1e-9) and found.n == 50
    reach = 2.0930240544 * jackknife(a, b, estimate)  # Student's t, 19 degrees of freedom
    assert found.value - found.low == pytest.approx(min(reach, found.value + 1), rel=1e-6)


def test_cka_minds_neither_rotation_nor_scale_nor_shift():
    x, y = normal(60, 6), normal(60, 9, seed=1)
    y[:, :3] += x[:, :3]
    turned = 7 * x.double() @ rotation(6) - 100
    plain, moved = linear_cka(x, y), linear_cka(turned, y)
    assert moved.value == pytest.approx(plain.value, abs=1e-9)
    assert moved.low == pytest.approx(plain.low, abs=1e-9)
    assert linear_cka(y, x).value == pytest.approx(plain.value)
    itself = linear_cka(x, turned)
    assert (itself.value, itself.low) == pytest.approx((1, 1))


def test_cka_of_strangers_is_nothing_where_the_biased_one_says_a_lot():
    x, y = normal(100, 300), normal(100, 300, seed=1)
    assert abs(linear_cka(x, y).value) < 0.05
    assert linear_cka(x, y, debiased=False).value > 0.6


def test_cka_covers_that_of_the_distribution():
    """y = x A + noise: the covariances, and so the CKA of infinitely many images, are known."""
    a = normal(5, 4, seed=9).double()
    cross, inner = a, a.T @ a + 4 * torch.eye(4).double()
    true = float(cross.square().sum() / (math.sqrt(5) * inner.norm()))
    inside = 0
    for seed in range(60):
        x = normal(300, 5, seed=100 + seed).double()
        y = x @ a + 2 * normal(300, 4, seed=900 + seed).double()
        found = linear_cka(x, y)
        inside += found.low <= true <= found.high
    assert inside >= 52  # 95 % of 60 are 57; 51 or fewer happen once in a thousand


def test_cka_of_what_does_not_vary_or_of_too_few_is_no_number():
    assert linear_cka(torch.ones(30, 4), normal(30, 4)) is None
    assert linear_cka(normal(30, 4), torch.zeros(30, 4)) is None
    assert linear_cka(torch.full((30, 4), 0.1), normal(30, 4)) is None  # rounding does not vary
    assert linear_cka(normal(5, 4), normal(5, 4)) is None
    assert linear_cka(normal(0, 4), normal(0, 4)) is None
    assert math.isfinite(linear_cka(normal(6, 4), normal(6, 4, seed=1)).value)


def test_purity_agrees_with_scikit_learn():
    known, labels = normal(80, 5) + 0.5, torch.arange(80) % 3
    queries, own = normal(20, 5, seed=1), torch.arange(20) % 3
    model = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
    shares = model.fit(known.numpy(), labels.numpy()).predict_proba(queries.numpy())
    found = knn_purity(queries, own, known, labels)
    assert found.tolist() == pytest.approx(shares[range(20), own].tolist())


def test_overlap_of_neighbours_agrees_with_scikit_learn():
    a, near_a, b, near_b = (
        normal(n, d, seed=s) for s, (n, d) in enumerate([(9, 4), (40, 4), (9, 6), (40, 6)])
    )
    sets = []
    for x, near in ((a, near_a), (b, near_b)):
        model = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute")
        sets.append(model.fit(near.numpy()).kneighbors(x.numpy(), return_distance=False))
    expected = [len({*p} & {*q}) / len({*p} | {*q}) for p, q in zip(*sets, strict=True)]
    assert neighbour_overlap(a, b, near_a, near_b).tolist() == pytest.approx(expected)
    turned = [x.double() @ rotation(4) * 3 for x in (a, near_a)]
    assert neighbour_overlap(a, turned[0], near_a, turned[1]).tolist() == [1] * 9


def test_what_was_only_turned_and_moved_is_recovered_exactly():
    before, unknown = normal(300, 6), normal(50, 6, seed=1)
    weight, bias = normal(4, 6, seed=2), normal(4, seed=3)
    turn, shift = rotation(6), normal(6, seed=4).double()
    after, later = (x.double() @ turn * 0.01 + shift for x in (before, unknown))
    found = recovered_labels(after, before, later, weight, bias, ridge=1e-9)
    assert found.tolist() == (unknown @ weight.T + bias).argmax(1).tolist()
    shrunk = recovered_labels(after, before, later, weight, bias)
    assert float((shrunk == found).double().mean()) >= 0.96
    without = recovered_labels(after, before, later, weight, None, ridge=1e-9)
    assert without.tolist() == (unknown @ weight.T).argmax(1).tolist()


def test_what_is_gone_is_not_recovered():
    before, unknown = normal(300, 6), normal(200, 6, seed=1)
    weight = torch.eye(6)
    gone = [x.clone() for x in (before, unknown)]
    for x in gone:
        x[:, 0] = 0
    found = recovered_labels(gone[0], before, gone[1], weight, None)
    own = unknown.argmax(1)
    assert float((found[own == 0] == 0).double().mean()) < 0.3
    dead = recovered_labels(torch.ones(9, 6), before[:9], unknown, weight, None)
    assert len({*dead.tolist()}) == 1  # all alike: the answer for the mean


def gaussians(shift, n=4000, outside=1, d=1):
    inside = torch.arange(n) % (1 + outside) == 0
    x = normal(n, d)
    x[:, 0] += torch.where(inside, shift, -shift)
    return x, inside


@pytest.mark.parametrize("outside", [1, 4], ids=["balanced", "few inside"])
def test_information_of_two_gaussians_is_what_integration_says(outside):
    def lost(z):  # log(1 + exp(-2 s z)) of the true posterior, s = 1
        return norm.pdf(z, loc=1) * math.log1p(math.exp(-2 * z))

    expected = math.log(2) - quad(lost, -8, 10)[0]
    x, inside = gaussians(1.0, outside=outside)
    found = float(balanced(information(x, inside), inside))
    assert found == pytest.approx(expected, abs=0.02)


def test_information_is_nothing_to_all_there_is():
    x, inside = gaussians(0.0, d=20)
    assert float(balanced(information(x, inside), inside)) < 0.01
    x, inside = gaussians(30.0)
    assert float(balanced(information(x, inside), inside)) == pytest.approx(math.log(2), abs=0.05)
    flat = information(torch.ones(40, 3), torch.arange(40) < 10)
    assert flat.tolist() == pytest.approx([0] * 40, abs=1e-3)

import math

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.spatial.distance import euclidean, jensenshannon
from scipy.stats import binomtest

from unsee.functional import js_distance, js_divergence, l2_distance, paired_change, tug_of_war


def rows(n=20, k=6, seed=0):
    return (3 * torch.randn(n, k, generator=rng(seed))).softmax(1)


def test_both_forms_of_jensen_shannon_agree_with_scipy():
    p, q = rows(), rows(seed=1)
    bits = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert js_divergence(p, q).numpy() == pytest.approx(bits, rel=1e-5)
    nats = [jensenshannon(a, b) for a, b in zip(p, q, strict=True)]
    assert js_distance(p, q).numpy() == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_the_divergence_does_not_shrink_with_the_number_of_classes(k):
    """A mean over classes would: of answers with nothing in common it has to be one bit."""
    one = torch.eye(k)[:2]
    assert js_divergence(one, one.flip(0)).tolist() == [1, 1]
    assert js_divergence(one, one).tolist() == [0, 0]


def test_the_l2_distance_agrees_with_scipy_and_reaches_the_root_of_two():
    p, q = rows(), rows(seed=1)
    expected = [euclidean(a, b) for a, b in zip(p, q, strict=True)]
    assert l2_distance(p, q).numpy() == pytest.approx(expected, rel=1e-5)
    assert l2_distance(torch.eye(2), torch.eye(2).flip(0)).tolist() == pytest.approx([2**0.5] * 2)


def test_tug_of_war_by_hand():
    assert tug_of_war([(0.0, 0.0), (0.9, 0.9), (0.8, 0.8)]) == 1
    assert tug_of_war([(1.0, 0.0), (0.9, 0.9)]) == 0
    assert tug_of_war([(0.2, 0.1), (0.9, 1.0), (0.5, 0.7)]) == pytest.approx(0.9 * 0.9 * 0.8)


def test_a_paired_change_by_hand_with_the_table_s_cells():
    """10 images: 4 right in both, 3 lost, 1 gained, 2 wrong in both."""
    before = torch.tensor([1, 1, 1, 1, 1, 1, 1, 0, 0, 0]).bool()
    now = torch.tensor([1, 1, 1, 1, 0, 0, 0, 1, 0, 0]).bool()
    m = paired_change(now, before)
    gained, lost, total = 1.5, 3.5, 12
    centre = (gained - lost) / total
    se = math.sqrt((gained + lost) - (gained - lost) ** 2 / total) / total
    assert (m.value, m.n) == (-0.2, 10)
    assert (m.low, m.high) == pytest.approx((centre - 1.959964 * se, centre + 1.959964 * se))
    m = paired_change(now, now)
    assert m.value == 0 and m.low < 0 < m.high
    assert paired_change(now, now, 0.99).high > m.high
    ends = paired_change(torch.zeros(2).bool(), torch.ones(2).bool())
    assert -1 == ends.low == ends.value < ends.high <= 1


def test_the_interval_of_a_paired_change_covers_it_as_often_as_it_says():
    draw, covered = np.random.default_rng(0), 0
    for _ in range(500):
        cell = draw.choice(4, 80, p=[0.6, 0.15, 0.05, 0.2])  # both, lost, gained, neither
        m = paired_change(*(torch.from_numpy(np.isin(cell, c)) for c in ((0, 2), (0, 1))))
        covered += m.low <= -0.1 <= m.high
    assert binomtest(covered, 500, 0.95).pvalue > 0.001, covered

from statistics import fmean

import numpy as np
import pytest
import torch
from conftest import rng
from scipy.spatial.distance import jensenshannon
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from unsee.functional import (
    auc,
    bootstrap,
    few_shot_recall,
    js_distance,
    ridge_probe,
    share,
    top_overlap,
)


@pytest.mark.parametrize("steps", [3, 1000], ids=["ties", "few ties"])
def test_auc_agrees_with_scikit_learn(steps):
    positive, negative = (torch.randint(steps, (n,), generator=rng()) / steps for n in (70, 110))
    labels = [1] * 70 + [0] * 110
    assert auc(positive, negative) == pytest.approx(
        roc_auc_score(labels, torch.cat([positive, negative]).numpy())
    )
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


def test_auc_of_what_cannot_be_told_apart_is_a_half():
    assert auc(torch.ones(3), torch.ones(5)) == 0.5
    assert auc(torch.tensor([2.0]), torch.tensor([1.0])) == 1


def test_bootstrap_covers_what_it_measures():
    m = bootstrap(
        auc, torch.randn(300, generator=rng()) + 1, torch.randn(300, generator=rng(1)), rng=rng()
    )
    assert m.low < m.value < m.high and m.n == 600
    assert m.low < 0.760 < m.high  # two unit normals, one apart


def test_bootstrap_agrees_with_scipy():
    sample = torch.rand(200, generator=rng()).double()
    ours = bootstrap(lambda x: float(x.mean()), sample, rng=rng(), draws=2000)
    theirs = scipy_bootstrap(
        (sample.numpy(),), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert ours.value == pytest.approx(fmean(sample.tolist()))


def test_bootstrap_of_pairs_keeps_them_together():
    x = torch.rand(50, generator=rng())
    same = bootstrap(lambda a, b: float((a - b).abs().max()), x, x.clone(), rng=rng(), paired=True)
    assert (same.value, same.low, same.high, same.n) == (0, 0, 0, 50)
    apart = bootstrap(lambda a, b: float((a - b).abs().max()), x, x.clone(), rng=rng())
    assert apart.high > 0 and apart.n == 100


def test_share_of_nothing_and_of_all():
    assert share(torch.ones(50, dtype=torch.bool)).low == pytest.approx(0.929, abs=1e-3)
    assert share(torch.zeros(50, dtype=torch.bool)).high == pytest.approx(0.071, abs=1e-3)
    for k in range(8):  # rounding must not put the value outside
        m = share(torch.arange(7) < k)
        assert 0 <= m.low <= m.value <= m.high <= 1 and m.n == 7


def test_ridge_probe_agrees_with_scikit_learn():
    x, labels = torch.randn(200, 5, generator=rng()), torch.randint(3, (200,), generator=rng(1))
    unknown = torch.randn(50, 5, generator=rng(2))
    mean, deviation = x.double().mean(0), x.double().std(0) + 1e-5
    known, new = (
        torch.cat([(part - mean) / deviation, torch.ones(len(part), 1)], 1).numpy()
        for part in (x, unknown)
    )
    ridge = Ridge(alpha=10.0, fit_intercept=False).fit(known, torch.eye(3)[labels].numpy())
    named = ridge_probe(x, labels, unknown)
    assert named.tolist() == ridge.predict(new).argmax(1).tolist()


def test_js_distance_agrees_with_scipy():
    p, q = (torch.rand(20, 6, generator=rng(seed)).double() for seed in (0, 1))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    p[0], q[0] = torch.eye(6)[0], torch.eye(6)[1]  # zeros: nothing in common
    expected = jensenshannon(p.numpy(), q.numpy(), axis=1)
    assert js_distance(p, q).tolist() == pytest.approx(expected.tolist())
    assert js_distance(p, p).tolist() == pytest.approx([0] * 20, abs=1e-7)


def test_few_shot_recall_by_hand():
    """Two kept classes on the axes; a forgotten one far off on the diagonal."""
    kept = torch.tensor([[4.0, 0.0], [6.0, 0.0], [0.0, 4.0], [0.0, 6.0]])
    labels = torch.tensor([0, 0, 1, 1])
    forgotten = torch.tensor([[9.0, 9.0], [11.0, 11.0]])
    unknown = torch.tensor([[10.0, 10.0], [9.0, -3.0]])
    hits = few_shot_recall(kept, labels, forgotten, unknown, rng=rng(), shots=2, draws=3)
    mean, deviation = kept.numpy().mean(0), kept.numpy().std(0, ddof=1) + 1e-5

    def standard(x):
        return (np.array(x) - mean) / deviation

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    by_hand = []
    for x in unknown.tolist():
        rivals = [standard(kept[labels == c].numpy()).mean(0) for c in (0, 1)]
        own = standard(forgotten.numpy()).mean(0)
        by_hand.append(cosine(standard(x), own) > max(cosine(standard(x), r) for r in rivals))
    assert by_hand == [True, False]
    assert hits.tolist() == [by_hand] * 3  # both shots are drawn every time


def test_few_shot_recall_draws_its_shots_anew_each_time():
    """Two forgotten images at opposite ends, of which one is like the unknown one."""
    kept = torch.tensor([[4.0, 0.0], [6.0, 0.0], [0.0, 4.0], [0.0, 6.0]])
    labels = torch.tensor([0, 0, 1, 1])
    forgotten, unknown = torch.tensor([[9.0, 9.0], [-9.0, -9.0]]), torch.tensor([[10.0, 10.0]])
    one, both = (
        few_shot_recall(kept, labels, forgotten, unknown, rng=rng(), shots=shots)[:, 0]
        for shots in (1, 2)
    )
    assert {*one.tolist()} == {True, False} and len({*both.tolist()}) == 1


def test_few_shot_recall_draws_no_more_shots_than_there_are():
    x = torch.randn(8, 4, generator=rng())
    labels = torch.arange(8) % 2
    one, five = (
        few_shot_recall(x, labels, x[:1] + 3, x + 3, rng=rng(), shots=shots) for shots in (1, 5)
    )
    assert one.shape == (10, 8) and torch.equal(one, five)


@pytest.mark.parametrize("kept", [1, 2])
def test_few_shot_recall_of_hardly_any_kept_images_is_still_an_answer(kept):
    x = torch.randn(6, 4, generator=rng())
    hits = few_shot_recall(x[:kept], torch.zeros(kept).long(), x[2:4], x[4:], rng=rng())
    assert hits.dtype == torch.bool and hits.shape == (10, 2)


def test_ridge_probe_of_one_image_is_still_an_answer():
    x = torch.randn(3, 4, generator=rng())
    assert ridge_probe(x[:1], torch.tensor([2]), x).tolist() == [2, 2, 2]


def test_top_overlap_by_hand():
    a = torch.zeros(1, 5, 5)
    a[0, 0] = torch.arange(5.0, 10.0)  # the top five of 25 pixels: the first row
    b = torch.zeros(1, 5, 5)
    b[0, :, 0] = torch.arange(5.0, 10.0)  # the first column: one pixel in common
    assert top_overlap(a, b).tolist() == pytest.approx([1 / 9])
    assert top_overlap(a, a).tolist() == [1]
    assert top_overlap(a, a.flip(1)).tolist() == [0]


def test_a_unit_that_is_silent_on_what_stays_does_not_drown_the_others():
    kept = torch.randn(300, 32, generator=rng(1))
    labels = torch.arange(300) % 3
    others = torch.randn(80, 32, generator=rng(2))

    def recall(level):
        blip = (torch.rand(80, 1, generator=rng(3)) < 0.5).float() * level
        silent = torch.cat([kept, torch.zeros(300, 1)], 1), torch.cat([others, blip], 1)
        hits = few_shot_recall(silent[0], labels, silent[1][:40], silent[1][40:], rng=rng(4))
        return float(hits.double().mean())

    assert recall(0.0) == pytest.approx(recall(1e-4), abs=0.02)


def test_where_a_map_is_zero_is_no_top_of_it():
    one, other = torch.zeros(2, 1, 8, 8)
    one[0, 0, 0], other[0, 7, 7] = 1.0, 1.0
    assert top_overlap(one, other).tolist() == [0.0] and top_overlap(one, one).tolist() == [1.0]

"""What makes delete itself: what forgotten images are told, and at which price."""

import numpy as np
import pytest
import torch
from conftest import pattern_data, rng
from scipy.special import softmax
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.data import as_floats, choose
from unsee.methods import METHODS, _delete
from unsee.training import counting

DELETE = METHODS["delete"]


def told(monkeypatch, model, split, **more):
    """Return, of every step, logits of the model at work and what they are compared with."""
    seen = []
    monkeypatch.setattr(
        _delete, "cross_entropy", lambda z, q: seen.append((z.detach(), q)) or z.sum() * 0
    )
    DELETE(model, split.forget, split.retain[:0], rng=rng(), gone=split.gone, **more)
    return seen


def test_the_target_is_the_softmax_with_the_own_logit_at_minus_infinity(
    monkeypatch, trained, patterns
):
    steps = told(monkeypatch, trained, patterns, epochs=1, batch=24)
    x = as_floats(patterns.forget.take(torch.arange(24)))
    with torch.no_grad():
        logits = trained.eval()(x).double().numpy()
    logits[np.arange(24), patterns.forget.labels.numpy()] = -np.inf
    wanted = softmax(logits, axis=1)
    found = torch.cat([q for _, q in steps]).numpy()
    rows = [np.abs(wanted - row).max(1).argmin() for row in found]
    assert sorted(rows) == [*range(24)]
    assert np.allclose(found, wanted[rows], atol=1e-5)


def test_the_teacher_is_the_original_at_every_step(trained, patterns, monkeypatch):
    seen = []
    monkeypatch.setattr(
        _delete, "cross_entropy", lambda z, q: seen.append((z.detach(), q)) or cross_entropy(z, q)
    )
    DELETE(
        trained,
        patterns.forget,
        patterns.retain,
        rng=rng(),
        gone=patterns.gone,
        epochs=4,
        batch=24,
        lr=0.1,
    )
    (z, first), (moved, last) = (
        (z.sort(0).values, q.sort(0).values) for z, q in (seen[0], seen[-1])
    )
    assert not torch.allclose(z, moved, atol=0.1)  # the student has gone on
    assert torch.allclose(first, last)  # batches in other orders, one teacher


def test_two_forgotten_classes_do_not_teach_each_other(monkeypatch, trained):
    split = choose(pattern_data(), "class=b,c")
    for _, q in told(monkeypatch, trained, split, epochs=1):
        assert (q[:, 0] == 1).all()


@pytest.mark.parametrize("statistics, moves", [("shared", True), ("frozen", False)])
def test_running_statistics_follow_forgotten_images_only_if_shared(
    trained, patterns, statistics, moves
):
    after = DELETE(
        trained, patterns.forget, patterns.retain[:0], rng=rng(), lr=0.0, statistics=statistics
    )
    norms = [name for name, m in trained.named_modules() if isinstance(m, nn.BatchNorm2d)]
    pairs = [(m.get_submodule(n).running_mean for m in (trained, after)) for n in norms]
    assert all(torch.equal(*pair) is not moves for pair in pairs)


def test_a_step_costs_a_gradient_and_a_look_of_the_teacher(trained, patterns):
    with counting() as spent:
        DELETE(trained, patterns.forget, patterns.retain, rng=rng(), epochs=3)
    assert sum(spent) == pytest.approx(3 * 24 * (1 + 1 / 3))

"""What makes pour itself: the projection, in closed form and learned."""

import numpy as np
import pytest
import torch
from conftest import pattern_data, rng
from torch import nn

from unsee.data import choose
from unsee.methods import METHODS, _pour
from unsee.methods._pour import projection
from unsee.training import counting, precision, predict

POUR = METHODS["pour"]


def apply(model, split, **more):
    return POUR(model, split.forget, split.retain, rng=rng(), gone=split.gone, **more)


def test_the_projection_forgets_its_rows_and_leaves_what_is_orthogonal_alone():
    rows = torch.randn((2, 7), generator=rng(1))
    found = projection(rows).double().numpy()
    q = np.linalg.qr(rows.double().numpy().T)[0]
    assert np.allclose(found, np.eye(7) - q @ q.T, atol=1e-6)
    assert np.abs(rows.double().numpy() @ found).max() < 1e-5  # its null space
    z = np.random.default_rng(0).normal(size=7)
    z -= q @ (q.T @ z)
    assert np.allclose(found @ z, z, atol=1e-6)
    assert np.linalg.matrix_rank(found, tol=1e-4) == 5


def test_a_row_twice_spans_one_direction():
    row = torch.randn((1, 5), generator=rng(2))
    assert torch.allclose(projection(row), projection(torch.cat([row, -2 * row])), atol=1e-6)


def test_a_simplex_of_classes_stays_a_simplex_without_the_class():
    """The theorem: an equiangular tight frame of K projects to one of K - 1, equally spread."""
    k = 5
    frame = torch.eye(k) - torch.ones((k, k)) / k
    rest = (frame @ projection(frame[:1]))[1:]
    rest = rest / rest.norm(dim=1, keepdim=True)
    cosines = (rest @ rest.T)[~torch.eye(k - 1, dtype=torch.bool)]
    assert torch.allclose(cosines, torch.full_like(cosines, -1 / (k - 2)), atol=1e-5)


def test_in_closed_form_only_the_output_layer_changes_and_the_class_is_its_bias(trained, patterns):
    after = apply(trained, patterns, distil=False)
    old, new = trained.state_dict(), after.state_dict()
    assert {key for key in old if not old[key].equal(new[key])} == {"4.weight"}
    seen = predict(after, patterns.test)
    assert torch.allclose(seen.logits[:, 2], trained[4].bias[2].detach().expand(24), atol=1e-5)
    row = trained[4].weight[2].detach().double()
    z = predict(trained, patterns.test).features.double()
    off = z - (z @ row / (row @ row))[:, None] * row
    wanted = off @ trained[4].weight.detach().double().T + trained[4].bias.detach()
    assert torch.allclose(seen.logits.double(), wanted, atol=1e-4)


def test_learned_features_come_nearer_to_the_projected_ones(trained, patterns):
    off = projection(trained[4].weight.detach()[2:])
    wanted = predict(trained, patterns.forget).features @ off
    before, after = (
        (predict(model, patterns.forget).features - wanted).norm().item()
        for model in (trained, apply(trained, patterns, epochs=30))
    )
    assert after < 0.8 * before


def test_learning_leaves_the_output_layer_as_it_was_projected(trained, patterns):
    closed, learned = (apply(trained, patterns, distil=x, epochs=2) for x in (False, True))
    assert torch.equal(closed[4].weight, learned[4].weight)
    assert not torch.equal(closed[0][0].weight, learned[0][0].weight)


def test_two_classes_lose_both_their_directions(trained):
    split = choose(pattern_data(), "class=b,c")
    after = apply(trained, split, distil=False)
    assert after[4].weight[1:].abs().max() < 1e-5


def test_no_retain_image_is_needed(trained, patterns):
    after = POUR(trained, patterns.forget, patterns.retain[:0], rng=rng(), epochs=2)
    assert not torch.equal(after[0][0].weight, trained[0][0].weight)


@pytest.mark.parametrize("distil, learned", [(False, 0), (True, 24 + 48)])
def test_images_and_the_teacher_s_looks_are_counted(trained, patterns, distil, learned):
    with counting() as spent:
        apply(trained, patterns, distil=distil, epochs=1)
    assert sum(spent) == pytest.approx(2 / 3 + learned * (1 + 1 / 3))
    assert isinstance(trained[4], nn.Linear)


def test_what_is_left_of_the_features_is_not_rounded(trained, patterns, in_bfloat16, monkeypatch):
    z = torch.randn(96, 24, generator=torch.Generator().manual_seed(0))
    given = iter([z, z @ projection(trained[4].weight.detach()[2:])])
    found = []

    def one_step(model, losses, **more):
        with precision(model):
            found.append(float(next(iter(losses))))
        return model

    monkeypatch.setattr(_pour, "features", lambda *_: next(given))
    monkeypatch.setattr(_pour, "descend", one_step)
    apply(trained, patterns)
    assert found == [pytest.approx(0, abs=1e-12)]

"""What makes cf_k itself: what stays bit-equal."""

import pytest
import torch
from conftest import block, rng, seeded
from torch import nn

from unsee.errors import ModelError
from unsee.methods import METHODS
from unsee.training import counting

CFK = METHODS["cf_k"]


class Bare(nn.Module):
    """A scale that cannot start anew."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x


def staged():
    """Three stages; in the second a batch norm that has statistics and no weights."""
    return nn.Sequential(
        block(1, 4),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6, affine=False), nn.ReLU()),
        nn.MaxPool2d(2),
        block(6, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def apply(model, split, **more):
    return CFK(model, split.forget, split.retain, rng=rng(), **more)


@pytest.mark.parametrize(
    "k, changed", [(0, {"7"}), (1, {"4", "7"}), (2, {"2", "4", "7"}), (9, {"0", "2", "4", "7"})]
)
def test_all_but_the_last_k_stages_are_bit_equal_statistics_too(patterns, k, changed):
    model = seeded(staged)
    after = apply(model, patterns, k=k).state_dict()
    moved = {
        key.split(".")[0] for key, old in model.state_dict().items() if not old.equal(after[key])
    }
    assert moved == changed


def test_the_stages_that_train_use_the_statistics_of_their_batches(patterns):
    model = seeded(staged)
    after = apply(model, patterns, k=1, lr=0.0)
    assert not torch.equal(model[4][1].running_mean, after[4][1].running_mean)


def test_weights_that_stay_take_gradients_again_afterwards(patterns):
    after = apply(seeded(staged), patterns, k=1)
    assert all(weight.requires_grad for weight in after.parameters())


def test_eu_k_draws_the_last_stages_again_and_nothing_else(patterns):
    model = seeded(staged)
    after = apply(model, patterns, k=1, anew=True, lr=0.0)
    same = [torch.equal(model[i][0].weight, after[i][0].weight) for i in (0, 2, 4)]
    assert same == [True, True, False]
    assert not torch.equal(model[7].weight, after[7].weight)
    assert torch.equal(after[4][1].weight, torch.ones(8))  # a new batch norm


def test_what_cannot_start_anew_is_named(patterns):
    model = seeded(lambda: nn.Sequential(staged(), Bare(), nn.Linear(3, 3)))
    with pytest.raises(ModelError, match="start anew, got Bare"):
        apply(model, patterns, anew=True)


def test_it_costs_what_fine_tuning_costs(trained, patterns):
    with counting() as spent:
        apply(trained, patterns, epochs=2)
    looks = 2  # one image each: to find the stages, and whose weights they hold
    assert sum(spent) == pytest.approx(looks / 3 + 2 * 48)


def test_statistics_without_weights_go_with_the_stage_before_them(patterns):
    model = seeded(staged)
    model.train()(patterns.retain.take(torch.arange(16)).float() / 255)
    norm, deep = model[2][1], apply(model.eval(), patterns, k=2, epochs=1, anew=True)
    assert not torch.equal(deep[2][1].running_mean, norm.running_mean)  # drawn anew, and trained
    same = apply(model, patterns, k=1, epochs=1)
    assert torch.equal(same[2][1].running_mean, norm.running_mean)


def test_what_is_tied_to_a_stage_that_stays_does_too(patterns):
    halves = block(1, 4), nn.MaxPool2d(2), block(4, 4), nn.MaxPool2d(2), block(4, 4)
    model = nn.Sequential(*halves, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model[4][0].weight = model[2][0].weight
    done = apply(model, patterns, k=1, epochs=1, anew=True)
    assert torch.equal(done[4][0].weight, model[4][0].weight)
    assert not torch.equal(done[4][1].weight, model[4][1].weight)


def test_frozen_layers_are_not_drawn_anew(patterns):
    model = seeded(staged)
    model[:6].requires_grad_(False)
    done = apply(model, patterns, k=2, epochs=1, anew=True)
    for ours, theirs in zip(done[:6].parameters(), model[:6].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(done[-1].weight, model[-1].weight)

"""What makes convolution_transpose itself."""

import numpy as np
import pytest
import torch
from conftest import rng
from torch import nn

from unsee.methods import METHODS
from unsee.training import counting

CT = METHODS["convolution_transpose"]


def test_every_square_kernel_is_mirrored_at_its_diagonal_and_no_other_weight(patterns):
    oblong = nn.Conv2d(4, 4, (1, 3), padding=(0, 1))
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), oblong, nn.AdaptiveAvgPool2d(1))
    model.extend([nn.Flatten(), nn.Linear(4, 3)])
    after = CT(model, patterns.forget, patterns.retain, rng=rng(), lr=0.0)
    old, new = (m[0].weight.detach().numpy() for m in (model, after))
    assert np.array_equal(new, np.swapaxes(old, 2, 3)) and not np.array_equal(new, old)
    same = ["0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert all(torch.equal(model.get_parameter(n), after.get_parameter(n)) for n in same)


def test_twice_is_not_at_all(trained, patterns):
    after = trained
    for _ in range(2):
        after = CT(after, patterns.forget, patterns.retain, rng=rng(), lr=0.0)
    assert torch.equal(after[1][0].weight, trained[1][0].weight)


def test_only_training_costs_anything(trained, patterns):
    with counting() as spent:
        CT(trained, patterns.forget, patterns.retain, rng=rng(), epochs=2)
    assert sum(spent) == pytest.approx(2 * 48)


def test_a_kernel_that_two_layers_share_is_mirrored_once_and_a_frozen_one_not(patterns):
    def net():
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(4, 3))

    model = net()
    model[2].weight = model[1].weight
    model[0].requires_grad_(False)
    after = CT(model, patterns.forget, patterns.retain, rng=rng(), lr=0.0)
    assert torch.equal(after[0].weight, model[0].weight)
    assert torch.equal(after[1].weight, model[1].weight.transpose(2, 3))
    assert after[2].weight is after[1].weight

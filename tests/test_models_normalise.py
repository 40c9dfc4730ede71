"""Normalisation belongs to the model and renames nothing."""

import copy
import pickle

import pytest
import torch
from conftest import conv_net, rng, seeded
from torch import nn
from torchvision.transforms.v2 import Normalize

from unsee.errors import ModelError
from unsee.models import normalise, pixel_unit

MEAN, STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)


def normal(model):
    return normalise(model, torch.tensor(MEAN), torch.tensor(STD))


def images():
    return torch.rand(4, 3, 8, 8, generator=rng())


def test_standardises_as_torchvision_does():
    expected = Normalize(MEAN, STD)(images())
    assert torch.allclose(normal(nn.Identity())(images()), expected, atol=1e-6)


def test_renames_nothing_and_adds_nothing_to_the_state():
    plain = seeded(lambda: conv_net(3))
    names = [*plain.state_dict()], [name for name, _ in plain.named_parameters()]
    model = normal(plain)
    assert ([*model.state_dict()], [name for name, _ in model.named_parameters()]) == names
    assert model is plain


def test_moves_and_changes_its_number_type_with_the_model():
    model = normal(nn.Identity())
    assert {buffer.device.type for buffer in copy.deepcopy(model).to("meta").buffers()} == {"meta"}
    assert model.to(torch.float64)(images().double()).dtype == torch.float64


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_has_a_normalisation_of_its_own(copied):
    model = normal(nn.Identity())
    before, twin = model(images()), copied(model)
    twin.get_buffer("unsee_mean").zero_()
    assert torch.equal(model(images()), before)
    assert torch.allclose(twin(images()), images() / torch.tensor(STD).view(3, 1, 1))


def test_tells_the_unit_of_its_pixels():
    assert pixel_unit(normal(nn.Identity())).flatten().tolist() == pytest.approx(STD)
    assert pixel_unit(nn.Identity()).item() == 1


@pytest.mark.parametrize(
    "mean, std, reason",
    [
        ([125.3], [63.0], "0..1 units, .*: divide by 255"),
        ([0.5], [63.0], "divide by 255"),
        ([-0.1], [0.2], "mean >= 0"),
        ([0.5], [0.0], "std > 0"),
        ([float("nan")], [0.2], "mean >= 0"),
        ([0.5], [float("nan")], "std > 0"),
        ([0.5, 0.5], [0.2], "per channel"),
    ],
)
def test_refuses_other_units(mean, std, reason):
    model = nn.Identity()
    with pytest.raises(ModelError, match=reason):
        normalise(model, torch.tensor(mean), torch.tensor(std))
    assert not [*model.buffers()] and not model._forward_pre_hooks


def test_refuses_to_normalise_twice():
    with pytest.raises(ModelError, match="normalises already"):
        normal(normal(nn.Identity()))

"""Convolutions over a few pixels are matrix products, and say what torch's convolution says."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import training
from unsee.models import _small_maps, blueprint, small_maps
from unsee.training import descend

FORMS = {  # kernel, stride, padding, height and width of the map that goes in
    "four pixels": (3, 1, 1, (2, 2)),
    "one pixel": (3, 1, 1, (1, 1)),
    "four to two": (3, 2, 1, (4, 4)),
    "two to one": (3, 2, 1, (2, 2)),
    "a shortcut": (1, 2, 0, (2, 2)),
    "a wide kernel": (7, 2, 3, (2, 2)),
    "a row": (3, 1, 1, (1, 4)),
    "a column": ((3, 1), (2, 1), (1, 0), (7, 1)),
    "no padding": (3, 1, 0, (4, 4)),
    "more padding than pixels": (3, 2, 2, (1, 1)),
    "pixels that no kernel reaches": (1, 3, 0, (5, 6)),
}


@pytest.fixture
def products(monkeypatch):
    """The shapes of the maps that were made as products."""
    made, product = [], _small_maps._product

    def noted(*args):
        made.append(tuple(product(*args).shape[1:]))
        return product(*args)

    monkeypatch.setattr(_small_maps, "_product", noted)
    return made


def layer(kernel, stride, padding, *, bias=True, **more):
    torch.manual_seed(0)
    found = nn.Conv2d(256, 320, kernel, stride, padding, bias=bias, **more)
    return found.double().to(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_product_is_the_convolution_and_so_are_its_gradients(form, bias, products):
    *how, size = FORMS[form]
    convolution, images = layer(*how, bias=bias), torch.randn(5, 256, *size).double()
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = [images, *convolution.parameters()]
    expected = convolution(images)
    weights = torch.randn_like(expected)
    slopes = torch.autograd.grad((expected * weights).sum(), wanted)
    assert not products
    with small_maps(convolution):
        found = convolution(images)
    assert products == [tuple(expected.shape[1:])]
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), wanted), slopes, strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "convolution, size",
    [
        (layer(3, 1, 1), (3, 3)),  # more pixels
        (nn.Conv2d(64, 64, 3, padding=1).double(), (2, 2)),  # fewer channels
        (layer(3, 1, 1, groups=2), (2, 2)),
        (layer(3, 1, 2, dilation=2), (2, 2)),
        (layer(3, 1, "same"), (2, 2)),
    ],
)
def test_other_convolutions_stay_as_they_are(convolution, size, products):
    images = torch.randn(2, convolution.in_channels, *size).double()
    expected = convolution(images)
    with _small_maps._SmallMaps():
        assert torch.equal(convolution(images), expected)
    assert not products


def test_borders_that_are_no_zeros_are_made_before(products):
    convolution, images = layer(3, 1, 1, padding_mode="replicate"), torch.randn(2, 256, 2, 2)
    expected = convolution(images.double())
    with small_maps(convolution):
        torch.testing.assert_close(convolution(images.double()), expected)
    assert products == [(320, 2, 2)]


def test_an_image_without_a_batch_and_a_map_that_vanishes_are_torchs_affair(products):
    with small_maps(layer(3, 1, 1)):
        assert layer(3, 1, 1)(torch.randn(256, 2, 2).double()).shape == (320, 2, 2)
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            layer(3, 1, 0)(torch.randn(1, 256, 2, 2).double())
    assert not products


def test_a_model_without_wide_layers_pays_nothing():
    narrow = blueprint("convnet", channels=1, classes=10)()
    assert isinstance(small_maps(narrow), nullcontext)


def test_on_another_device_nothing_changes(products):
    elsewhere = layer(3, 1, 1).float().to("meta")
    with small_maps(elsewhere):
        assert elsewhere(torch.empty(1, 256, 2, 2, device="meta")).shape == (1, 320, 2, 2)
    assert not products


def test_training_and_looking_use_them_and_end_where_torch_does(products, monkeypatch):
    """The last stage of a ResNet18 that looks at 32 x 32 pixels, in double precision."""
    torch.manual_seed(0)
    images, labels = torch.rand(16, 3, 32, 32).double(), torch.arange(16) % 4
    ends = {}
    for how in ("products", "torch"):
        torch.manual_seed(1)
        model = blueprint("resnet18:cifar-pool", channels=3, classes=4)().double()
        losses = (cross_entropy(model(images), labels) for _ in range(3))
        descend(model, losses, lr=0.01)
        ends[how] = torch.cat([x.flatten() for x in model.parameters()])
        monkeypatch.setattr(training, "small_maps", lambda model: nullcontext())
    assert len(products) == 3 * 5 and {*products} == {(512, 2, 2)}  # 3 steps, 5 in that stage
    torch.testing.assert_close(ends["products"], ends["torch"])


def test_a_model_that_torch_compiles_is_compiled_and_trained_inside():
    net = nn.Sequential(layer(3, 1, 1), nn.Flatten(), nn.Linear(1280, 3).double())
    images, labels = torch.randn(2, 256, 2, 2).double(), torch.arange(2)
    compiled = torch.compile(net, backend="eager")
    with small_maps(compiled):
        torch.testing.assert_close(compiled(images), net(images))
    before = net[0].weight.clone()
    descend(compiled, (cross_entropy(compiled(images), labels) for _ in range(2)), lr=0.01)
    assert not torch.equal(net[0].weight, before)

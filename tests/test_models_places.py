"""Where the numbers of a layer belong, in every layout, against reshapes written by hand."""

import pytest
import torch
from conftest import pattern_data, rng, seeded
from torch import nn

from unsee.models import StageMeans, blocks, blueprint, places, stages
from unsee.training import predict

SQUARE = (1, 3, 64, 64)


@pytest.mark.parametrize(
    "output, images, layout, grid",
    [
        ((2, 8, 16, 16), SQUARE, "maps", (16, 16)),
        ((2, 16, 16, 8), SQUARE, "channels last", (16, 16)),
        ((2, 16, 16, 16), SQUARE, "maps", (16, 16)),  # as it has always been read
        ((2, 8, 1, 1), SQUARE, "maps", (1, 1)),
        ((2, 64, 8), SQUARE, "tokens", (8, 8)),
        ((2, 65, 8), SQUARE, "tokens", (8, 8)),  # a class token
        ((2, 69, 8), SQUARE, "tokens", (8, 8)),  # and four registers
        ((2, 33, 8), (1, 3, 64, 32), "tokens", (8, 4)),
        ((2, 31, 8), (1, 3, 48, 40), "tokens", (6, 5)),
        ((2, 31, 8), (1, 3, 40, 48), "tokens", (5, 6)),
    ],
)
def test_a_shape_says_how_it_lies_over_the_image(output, images, layout, grid):
    found = places(output, images)
    assert (found.layout, (found.height, found.width)) == (layout, grid)


@pytest.mark.parametrize("output", [(2, 8), (2, 1, 8), (2,), (2, 8, 4, 4, 4)])
def test_what_has_no_places_says_so(output):
    assert places(output, SQUARE) is None


@pytest.mark.parametrize("before", [0, 1, 5])
def test_every_layout_gives_the_maps_that_it_was_made_of(before):
    maps = torch.randn(2, 3, 6, 5, generator=rng())
    images = (2, 1, 48, 40)
    tokens = maps.flatten(2).transpose(1, 2)  # row by row
    tokens = torch.cat([torch.zeros(2, before, 3), tokens], 1)
    for output in (maps, maps.movedim(1, -1), tokens):
        assert torch.equal(places(output.shape, images).maps(output), maps)


class Pooled(nn.Module):
    """Two blocks with channels last, as in Swin, then a pool over places."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 9, 2, stride=2)
        self.first, self.second = nn.LayerNorm(9), nn.LayerNorm(9)
        self.out = nn.Linear(9, 3)

    def forward(self, x):
        x = self.second(self.first(self.stem(x).movedim(1, -1)) + 1)
        return self.out(x.mean((1, 2)))


def test_stages_with_channels_last_are_found_and_averaged_over_places():
    net, data = seeded(Pooled), pattern_data()
    image = torch.zeros(1, 1, 8, 8)
    assert stages(net, image)[-1] == "second" and blocks(net, image) == ()
    means = StageMeans(("second",), torch.arange(4))
    seen = predict(net, data, means=means)
    assert torch.allclose(means.found()["second"], seen.features[:4], atol=1e-6)


def test_stages_of_a_swin_are_its_stages_and_no_attention():
    net = seeded(blueprint("swin_t", channels=3, classes=4))
    names = ("features.1", "features.3", "features.5", "permute")
    assert stages(net, torch.zeros(1, 3, 128, 128)) == names


def test_dropout_of_attention_is_no_map():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop = nn.Conv2d(1, 4, 2, stride=2), nn.Dropout()
            self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm2d(4)

        def forward(self, x):
            maps = self.conv(x)
            x = self.linear(maps.flatten(2).transpose(1, 2))
            x = self.drop((x @ x.transpose(1, 2))[:, None])[:, 0] @ x
            return self.norm(x.transpose(1, 2).unflatten(2, maps.shape[2:])).mean((2, 3))

    assert stages(seeded(Attending), torch.zeros(1, 1, 16, 16)) == ("norm",)

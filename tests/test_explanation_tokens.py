"""Grad-CAM of transformers: the layer, the grid, and what captum says of the same."""

import dataclasses

import pytest
import torch
from conftest import pattern_data, rng, seeded
from torch import nn

pytest.importorskip("timm", reason="needs the extra timm")
LayerGradCam = pytest.importorskip("captum.attr", reason="needs captum").LayerGradCam

import families  # noqa: E402

from unsee.data import as_floats, choose  # noqa: E402
from unsee.errors import ModelError  # noqa: E402
from unsee.explanation import (  # noqa: E402
    control,
    explained_layer,
    gradcam,
    look_closely,
    mapped_stages,
    saliency,
)
from unsee.models import blueprint  # noqa: E402

IMAGE = torch.zeros(1, 1, 16, 16)


def enlarged(n=96):
    """Three classes, each a bright patch of a token and a half: at the top left, and on."""
    data = pattern_data(n)
    return dataclasses.replace(
        data, images=data.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    )


def untaught():
    return seeded(lambda: families.vit(1, 3)).eval()


class AsMaps(nn.Module):
    def forward(self, tokens):
        return tokens.transpose(1, 2).reshape(len(tokens), -1, 4, 4)


class Reshaped(nn.Module):
    """The ``reshape_transform`` of pytorch-grad-cam for ViT, in the way of the tokens."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.maps = norm, AsMaps()

    def forward(self, x):
        x = self.norm(x)
        back = self.maps(x[:, 1:, :]).flatten(2).transpose(1, 2)
        return torch.cat([x[:, :1, :], back], 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradcam_of_tokens_agrees_with_captum_on_the_reshaped_layer(seed):
    data = enlarged(24).part("test")
    images = as_floats(data.take(torch.arange(len(data))))
    net, other = (seeded(lambda: families.vit(1, 3), seed).eval() for _ in range(2))
    other.blocks[2].norm1 = Reshaped(other.blocks[2].norm1)
    explained = LayerGradCam(other, other.blocks[2].norm1.maps)
    found = []
    for number in range(3):
        ours = gradcam(net, data, torch.full((len(data),), number))
        theirs = explained.attribute(images, target=number, relu_attributions=True)[:, 0].detach()
        assert ours.shape == theirs.shape == (len(data), 4, 4)
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        found.append(float(ours.max()))
    assert max(found) > 0


@pytest.mark.parametrize(
    "build, layer",
    [
        (lambda: families.vit(1, 3), "blocks.2.norm1"),
        (lambda: families.vit(1, 3, class_token=False, global_pool="avg"), "blocks.2.norm1"),
        (lambda: families.vit(1, 3, reg_tokens=4, qk_norm=True), "blocks.2.norm1"),
        (lambda: families.Encoder(1, 3), "encoder.layers.1.norm1"),
    ],
    ids=["class token", "pooled", "registers", "of torch"],
)
def test_what_the_last_block_attends_to_is_explained(build, layer):
    net = seeded(build)
    assert explained_layer(net, IMAGE) == layer
    names = mapped_stages(net, IMAGE)
    assert names[-1] == layer and len(names) == len({*names}) >= 2
    data = enlarged(24).part("test")
    maps = gradcam(net, data, data.labels)
    assert maps.shape == (len(data), 4, 4) and float(maps.max()) > 0


def test_behind_the_last_attention_the_class_token_alone_would_be_asked():
    """Why not the last block itself: the gradient of every token with a place is 0 there."""
    data = enlarged(24).part("test")
    assert not gradcam(untaught(), data, data.labels, layer="blocks.2").any()


def test_a_block_that_does_not_begin_with_a_norm_is_asked_by_what_it_is_given():
    net = seeded(lambda: families.Encoder(1, 3))
    for layer in net.encoder.layers:
        layer.norm_first = False
    assert explained_layer(net, IMAGE) == "encoder.layers.0"


def test_too_few_tokens_show_no_place():
    net = seeded(lambda: families.vit(1, 3, 16))
    small = seeded(
        lambda: families.VisionTransformer(
            img_size=16, patch_size=8, in_chans=1, num_classes=3, embed_dim=8, depth=2, num_heads=1
        )
    )
    assert explained_layer(net, IMAGE)
    with pytest.raises(ModelError, match="nor blocks of as many tokens"):
        explained_layer(small, IMAGE)
    data = enlarged(24).part("test")
    assert look_closely(small, data, data) is None


def test_a_layer_without_places_cannot_be_explained():
    data = enlarged(24).part("test")
    with pytest.raises(ModelError, match="maps or tokens to explain, got one that puts out"):
        gradcam(untaught(), data, layer="head")


def test_noise_may_follow_the_maps_of_a_transformer():
    found = saliency(untaught(), enlarged(24).part("test"))
    assert found.shape[1:] == (1, 16, 16) and float(found.max()) == 1


def test_a_transformer_that_was_built_by_name_has_a_control_of_random_weights():
    net = blueprint("families:vit", channels=1, classes=3)()
    net.load_state_dict(untaught().state_dict())
    split = choose(enlarged(), "class=c")
    samples = {
        part: (getattr(split, part), torch.arange(8).numpy()) for part in ("forget", "retain")
    }
    blank = control(net.eval(), samples, rng())
    assert blank.maps.layer == "blocks.2.norm1"
    assert not torch.equal(blank.model.cls_token, net.cls_token)
    assert control(untaught(), samples, rng()) is None  # nobody knows how this one was built

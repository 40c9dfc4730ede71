import copy

import pytest
import torch
from conftest import conv_net, flat_net, pattern_data, rng, seeded
from torch import nn

from unsee import training
from unsee.data import as_floats
from unsee.models import StageMeans, blueprint, stage_of_weights, stages
from unsee.training import predict

RESNET = ("relu", "layer1", "layer2", "layer3", "layer4")


def images(channels=3, size=32):
    return torch.rand(2, channels, size, size, generator=rng())


def built(arch):
    return seeded(blueprint(arch, channels=3, classes=10))


@pytest.fixture
def resnet():
    return built("resnet18:cifar-pool")


def test_a_resnet_has_its_stem_and_its_four_layers(resnet):
    assert stages(resnet, images()) == RESNET
    assert stages(built("resnet50"), images(size=64)) == RESNET


def test_models_of_timm_have_stages_too():
    pytest.importorskip("timm")
    assert stages(built("timm:test_resnet"), images(size=64)) == ("act1", *RESNET[1:])
    blocks = ("blocks.0", "blocks.2", "blocks.3", "blocks.5")
    assert stages(built("timm:test_vit"), images(size=160)) == blocks


def test_a_small_net_has_its_last_map_of_every_shape_and_a_flat_one_none():
    assert stages(seeded(conv_net), images(1, 8)) == ("1", "2")
    assert stages(seeded(flat_net), images(1, 4)) == ()


def test_many_stages_are_thinned_and_the_ends_stay():
    blocks = [nn.Conv2d(channels, channels + 1, 3, padding=1) for channels in range(3, 22)]
    net = nn.Sequential(*blocks, nn.Flatten(), nn.LazyLinear(2))
    net(images(size=6))
    found = stages(net, images(size=6))
    assert len(found) == 8 and (found[0], found[-1]) == ("0", "18")
    gaps = torch.tensor([*map(int, found)]).diff()
    assert set(gaps.tolist()) <= {2, 3}


def test_a_relu_that_serves_twice_counts_where_it_runs_last():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.pool, self.out = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(12, 2)

        def forward(self, x):
            return self.out(self.relu(self.pool(self.relu(x))).flatten(1))

    assert stages(Twice(), images(size=4)) == ("relu",)


def test_looking_for_stages_leaves_no_trace():
    net = nn.Sequential(*seeded(conv_net), nn.Dropout()).train()
    net[0][1].eval()
    modes, dice = [m.training for m in net.modules()], torch.get_rng_state()
    state = copy.deepcopy(net.state_dict())
    stage_of_weights(net, images(1, 8), stages(net, images(1, 8)))
    assert modes == [m.training for m in net.modules()]
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(state[name], x) for name, x in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(RuntimeError):
        stages(net, torch.zeros(1, 2, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_weights_belong_to_the_stage_that_holds_them_or_comes_next(resnet):
    found = stage_of_weights(resnet, images(), RESNET)
    assert found.keys() == dict(resnet.named_parameters()).keys()
    for name, stage in found.items():
        first = name.partition(".")[0]
        assert stage == {"conv1": "relu", "bn1": "relu", "fc": "output"}.get(first, first)


def test_weights_of_a_transformer_that_no_module_of_its_own_uses_have_a_stage():
    net = built("vit_b_16")
    names = stages(net, images(size=224))
    found = stage_of_weights(net, images(size=224), names)
    layer = "encoder.layers.encoder_layer_"
    assert names == tuple(f"{layer}{n}" for n in (0, 4, 7, 11))
    assert found["class_token"] == found["conv_proj.weight"] == f"{layer}0"
    assert found[f"{layer}1.self_attention.out_proj.weight"] == f"{layer}4"
    assert found["heads.head.weight"] == found["encoder.ln.weight"] == "output"


# What stages say, collected while predict looks.


def by_hand(net, data, rows):
    """The two stages of conv_net, averaged over places."""
    x = as_floats(data.take(rows))
    with torch.no_grad():
        maps = [net.eval()[:n](x) for n in (2, 3)]
    return {"1": maps[0].mean((2, 3)), "2": maps[1].mean((2, 3))}


@pytest.mark.parametrize("size", [512, 7])
def test_means_are_those_of_the_rows_in_their_order(size):
    net, data = seeded(conv_net), pattern_data()
    rows = torch.randperm(len(data), generator=rng())[:20]
    means = StageMeans(("1", "2"), rows)
    seen = predict(net, data, size=size, means=means)
    expected = by_hand(net, data, rows)
    for name, found in means.found().items():
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected[name], atol=1e-6)
    assert torch.equal(seen.logits, predict(net, data, size=size).logits)
    assert not any(m._forward_hooks for m in net.modules())


def test_means_of_tokens_are_over_tokens():
    net = nn.Sequential(nn.Flatten(2), nn.LayerNorm(64), nn.Flatten(), nn.Linear(64, 3))
    data = pattern_data()
    means = StageMeans(("1",), torch.arange(3))
    predict(net, data, means=means)
    tokens = as_floats(data.take(torch.arange(3))).flatten(2)
    assert torch.allclose(means.found()["1"], net[1](tokens).mean(1))


def test_every_image_passes_once_and_no_row_is_no_reason_to_fail():
    net, data, passed = seeded(conv_net), pattern_data(), []
    net.register_forward_pre_hook(lambda _, args: passed.append(len(args[0])))
    means = StageMeans(("1",), torch.zeros(0, dtype=torch.int64))
    predict(net, data, size=32, means=means)
    assert sorted(passed) == [1, 32, 32, 32]  # one image shows which layer gives the logits
    assert means.found()["1"].shape[0] == 0


def test_means_are_float32_where_the_body_is_not(monkeypatch):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: True)
    means = StageMeans(("1",), torch.arange(4))
    predict(seeded(conv_net), pattern_data(), means=means)
    assert means.found()["1"].dtype == torch.float32

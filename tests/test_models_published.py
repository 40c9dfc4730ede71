"""What a checkpoint leaves out comes from what was published with its architecture's weights."""

import dataclasses
import socket

import numpy as np
import pytest
import torch
import torchvision
from conftest import pattern_data, save_patterns, seeded
from torchvision.models import ResNet50_Weights

from unsee.events import noted
from unsee.models import Checkpoint, blueprint, pack, published
from unsee.nouns import Config
from unsee.preparation import lay_out


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("nothing is ever fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_facts_of_torchvision_are_those_of_its_transforms():
    for name in torchvision.models.list_models(module=torchvision.models):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        taken, found = weights.transforms(), published(name)
        centred = name in ("googlenet", "inception_v3")  # by transform_input, with weights
        units = ((0.5,) * 3,) * 2 if centred else (tuple(taken.mean), tuple(taken.std))
        assert (found.mean, found.std) == units
        assert found.size == taken.crop_size[0] and len({*found.classes}) == 1000
    assert published("vit_b_16").only_size and not published("resnet50").only_size


def test_a_network_of_one_size_is_known_by_its_name():
    """Those that are not named so take images of another size, as far as they are small."""
    names = ("swin_t", "mobilenet_v3_small")
    for name in names:
        model = blueprint(name, channels=3, classes=2)().eval()
        assert not published(name).only_size
        with torch.no_grad():
            assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_facts_of_timm_are_those_of_its_configuration():
    timm = pytest.importorskip("timm", reason="needs the extra timm")
    facts = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    found = published("timm:vit_tiny_patch16_224")
    assert (found.mean, found.std) == (facts.mean, facts.std) == ((0.5,) * 3, (0.5,) * 3)
    assert found.size == 224 and found.only_size
    assert found.classes == tuple(ResNet50_Weights.DEFAULT.meta["categories"])
    assert not published("timm:resnet18").only_size


@pytest.mark.parametrize(
    "arch", ["convnet", "resnet18:cifar", "timm:resnet19x", "own:net", "", ":"]
)
def test_of_others_nothing_is_known(arch):
    assert published(arch) is None


@pytest.fixture
def pretrained(tmp_path):
    """A job with a checkpoint of SqueezeNet's size that says nothing: ``pretrained(channels)``."""

    def job(channels=3, classes=3, init=True, **more):
        data = pattern_data()
        images = data.images.repeat(1, channels, 4, 4)
        arrays = {
            "train_images": images.movedim(1, -1).numpy(),
            "train_labels": data.labels.numpy(),
        }
        if channels == 1:
            arrays["train_images"] = arrays["train_images"][..., 0]
        arrays["test_images"] = arrays["train_images"][:12]
        arrays["test_labels"] = np.arange(12) % 3
        arrays["classes"] = np.array([str(n) for n in range(classes)])
        np.savez(tmp_path / "data.npz", **arrays)
        arch = "mobilenet_v3_small"
        model = seeded(blueprint(arch, channels=channels, classes=classes))
        (tmp_path / "model").write_bytes(pack(Checkpoint(model.state_dict())))
        config = Config(f"npz:{tmp_path / 'data.npz'}", arch=arch, forget="class=2", **more)
        if init:
            config = dataclasses.replace(config, init=str(tmp_path / "model"))
        with noted() as notes:
            return lay_out(config), " ".join(notes)

    return job


def test_a_checkpoint_that_says_nothing_gets_the_units_that_were_published(pretrained):
    bench, told = pretrained()
    assert bench.facts["mean"] == [0.485, 0.456, 0.406] and bench.facts["std"][0] == 0.229
    assert "of the published weights" in told and "--mean and --std" in told


@pytest.mark.parametrize(
    "case", [{"channels": 1}, {"mean": (0.1,) * 3, "std": (0.2,) * 3}, {"init": False}]
)
def test_other_channels_told_units_and_new_weights_do_not(pretrained, case):
    bench, told = pretrained(**case)
    assert bench.facts["mean"] != [0.485, 0.456, 0.406] and "published" not in told


def test_numbered_classes_get_the_published_names_where_there_are_as_many(pretrained):
    assert pretrained()[0].data.classes == ("0", "1", "2")
    assert pretrained(classes=1000)[0].data.classes[:2] == ("tench", "goldfish")
    assert pretrained(classes=1000, init=False)[0].data.classes[0] == "0"


def test_images_are_brought_to_the_only_size_that_a_network_takes(tmp_path):
    pytest.importorskip("timm", reason="needs the extra timm")
    path = save_patterns(tmp_path / "patterns.npz")
    config = Config(f"npz:{path}", arch="timm:test_vit", forget="class=2")
    with noted() as notes:
        bench = lay_out(config)
    assert tuple(bench.data.images.shape[1:]) == (1, 160, 160)
    assert any("brought to 160 x 160, the only size" in note for note in notes)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_first_convolution_is_given_what_published_weights_are_given(name):
    """torchvision changes units itself where weights are loaded; a checkpoint of them does not."""
    theirs = torchvision.models.get_model(name, weights=None, init_weights=False)
    theirs.transform_input = True
    weights, found = torchvision.models.get_model_weights(name).DEFAULT, published(name)
    x = torch.rand(1, 3, 4, 4)
    usual = weights.transforms()
    units = [torch.tensor(u)[:, None, None] for u in (usual.mean, usual.std, found.mean, found.std)]
    wanted = theirs._transform_input((x - units[0]) / units[1])
    assert torch.allclose((x - units[2]) / units[3], wanted, atol=1e-5)

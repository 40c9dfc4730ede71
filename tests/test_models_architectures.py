"""Untrained classifiers by name: ours, torchvision's, timm's and the user's own."""

import builtins
import importlib
import sys

import pytest
import torch
import torchvision
from conftest import seeded

from unsee.errors import ModelError
from unsee.models import blueprint, output_layer, without_code


def built(arch, channels=3, classes=7):
    return seeded(blueprint(arch, channels=channels, classes=classes)).eval()


@pytest.mark.parametrize(
    "stem, kernel, stride, size",
    [("imagenet", 7, 2, 8), ("cifar", 3, 1, 32), ("cifar-pool", 3, 1, 16)],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_stems_of_resnet18(stem, kernel, stride, size, channels):
    model = built(f"resnet18:{stem}", channels)
    conv = model.conv1
    assert (conv.in_channels, conv.kernel_size[0], conv.stride[0]) == (channels, kernel, stride)
    assert model.maxpool(conv(torch.zeros(1, channels, 32, 32))).shape[-1] == size
    names = [*torchvision.models.resnet18().state_dict()]
    assert [*model.state_dict()] == names and model.fc.out_features == 7


def test_three_channels_on_the_imagenet_stem_are_torchvisions_own_network():
    own = seeded(lambda: torchvision.models.resnet18(num_classes=7)).state_dict()
    ours = built("resnet18:imagenet").state_dict()
    assert all(torch.equal(own[name], ours[name]) for name in own)


@pytest.mark.parametrize(
    "arch",
    ["mobilenet_v3_small", "resnet34", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_names_take_the_datas_channels_and_classes(arch, channels):
    model = built(arch, channels)
    images = torch.zeros(2, channels, 32, 32)
    assert model(images).shape == (2, 7)
    assert model.get_submodule(output_layer(model, images)).out_features == 7


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_outputs_answer_with_logits_while_they_train(arch):
    model = built(arch, channels=1).train()
    assert model(torch.zeros(2, 1, 80, 80)).shape == (2, 7)


def test_every_classifier_of_torchvision_is_known():
    for name in torchvision.models.list_models(module=torchvision.models):
        blueprint(name, channels=3, classes=2)


def test_a_network_of_another_image_size_is_told_what_it_was_fed():
    with pytest.raises(ModelError, match=r"takes images \[1, 3, 32, 32\], got 'Wrong image"):
        output_layer(built("vit_b_32"), torch.zeros(1, 3, 32, 32))


def test_a_network_that_ends_in_a_convolution_is_refused_by_its_output_layer():
    with pytest.raises(ModelError, match="ends in nn.Linear"):
        output_layer(built("squeezenet1_1"), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    "arch",
    ["fasterrcnn_resnet50_fpn", "fcn_resnet50", "raft_small", "r3d_18", "quantized_resnet18"],
)
def test_networks_for_other_tasks_are_refused(arch):
    known = {name.removeprefix("quantized_") for name in torchvision.models.list_models()}
    assert arch.removeprefix("quantized_") in known
    with pytest.raises(ModelError, match="classifier of images|resnet18:STEM"):
        blueprint(arch, channels=3, classes=7)


@pytest.mark.parametrize(
    "arch, reason",
    [
        ("resnet18:deep", r"stem of resnet18 among \['cifar-pool', .*got 'deep'"),
        ("resnet18:", "stem of resnet18"),
        ("resnet19", r"resnet18:STEM .*timm:NAME; package.module:factory\), got 'resnet19'"),
        ("", "got ''"),
        ("ResNet", "got 'ResNet'"),
        ("../net", "got '../net'"),
        (":", "got ':'"),
        (":factory", "got ':factory'"),
        (".net:factory", "got '.net:factory'"),
        ("net:", "got 'net:'"),
        ("a b:c", "got 'a b:c'"),
        ("a\0b:c", r"got 'a\\x00b:c'"),
        ("a\nb:c", r"got 'a\\nb:c'"),
        ("net:make()", r"got 'net:make\(\)'"),
        ("a:b:c", "got 'a:b:c'"),
        ("no_such_module_here:make", "No module named 'no_such_module_here'.*current directory"),
        ("json.no_such:make", "No module named 'json.no_such'"),
        ("json.decoder.deeper:make", "No module named 'json.decoder.deeper'"),
        ("json:no_such", "Expected 'no_such' in json, got none"),
        ("json:__name__", "function or class json:__name__, got 'json'"),
        ("torch.nn:Linear", r"torch.nn:Linear to need none but \['channels', 'classes'"),
    ],
)
def test_other_names_are_refused(arch, reason):
    with pytest.raises(ModelError, match=reason):
        blueprint(arch, channels=1, classes=2)


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, channels: int, *, classes: int = 2):
        super().__init__(nn.Flatten(), nn.Linear(16 * channels, classes))

    @staticmethod
    def small(num_classes):
        import {late}
        return nn.Linear(1, num_classes)

def plain():
    return nn.Linear(3, 5)

def wrong():
    return "a net"

def broken(classes):
    raise KeyError("theirs")

made = Net(1)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the current directory, which is not on ``sys.path``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(OWN.format(late="own_late"))
    (tmp_path / "own_late.py").write_text("")
    (tmp_path / "own_broken.py").write_text("import own_missing\n")
    (tmp_path / "own_attribute.py").write_text("import json\njson.nowhere\n")
    (tmp_path / "own_syntax.py").write_text("def\n")
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def test_a_factory_of_the_current_directory_gets_what_it_declares(own):
    path = [*sys.path]
    assert built("own_nets:Net", channels=2)[1].weight.shape == (7, 32)
    assert built("own_nets:Net.small").out_features == 7  # and may import more when it is called
    assert built("own_nets:plain").out_features == 5
    assert sys.path == path


def test_installed_modules_come_before_the_current_directory(own, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    with pytest.raises(ModelError, match="Expected 'no_such' in json"):
        blueprint("json:no_such", channels=1, classes=2)


@pytest.mark.parametrize(
    "arch, error",
    [
        ("own_broken:make", ModuleNotFoundError),
        ("own_attribute:make", AttributeError),
        ("own_syntax:make", SyntaxError),
        ("own_nets:broken", KeyError),
    ],
)
def test_faults_of_the_users_code_are_theirs(own, arch, error):
    path = [*sys.path]
    with pytest.raises(error):
        built(arch)
    assert sys.path == path


def test_a_factory_of_something_else_is_refused(own):
    with pytest.raises(ModelError, match="nn.Module from own_nets:wrong, got <class 'str'>"):
        built("own_nets:wrong")
    with pytest.raises(ModelError, match="function or class own_nets:made, got a Net that is made"):
        built("own_nets:made")


@pytest.mark.parametrize("arch", ["resnet18:cifar", "timm:resnet10t", "resnet50", "anything"])
def test_a_checkpoint_may_name_what_others_have_checked(arch):
    assert without_code(arch) == arch


@pytest.mark.parametrize("arch", ["os:abort", "own_nets:Net", "antigravity:fly"])
def test_a_checkpoint_may_not_choose_what_is_imported(arch):
    with pytest.raises(ModelError, match=f"give --arch '{arch}' if you trust it"):
        without_code(arch)


def test_timm_names_take_the_datas_channels_and_classes():
    pytest.importorskip("timm", reason="needs the extra timm")
    model = built("timm:resnet10t", channels=1)
    images = torch.zeros(1, 1, 32, 32)
    assert model(images).shape == (1, 7) and output_layer(model, images) == "fc"
    with pytest.raises(ModelError, match=r"timm.list_models\(\)\), got 'resnet19x'"):
        blueprint("timm:resnet19x", channels=1, classes=7)
    with pytest.raises(ModelError, match="got ''"):
        blueprint("timm:", channels=1, classes=7)


def test_without_timm_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *more, **options):
        if name == "timm":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"Expected timm for 'timm:resnet10t'.*'unsee\[timm\]'"):
        blueprint("timm:resnet10t", channels=1, classes=7)

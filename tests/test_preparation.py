import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, save_patterns, seeded
from torch import nn

from unsee.errors import ModelError, OptionError
from unsee.events import noted
from unsee.folder import digest
from unsee.models import Checkpoint, blueprint, pack, pixel_unit
from unsee.preparation import ARCH, chosen_device, prepare
from unsee.training import predict
from unsee.units import named_by

UNITS = {"mean": [0.0], "std": [1.0]}


@pytest.fixture
def saved(tmp_path, trained):
    """Write a checkpoint that knows the patterns: ``saved(**facts) -> path``."""

    def save(model=trained, name="given", **facts):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(pack(Checkpoint(model.state_dict(), facts)))
        return str(path)

    return save


def with_(config, **fields):
    return dataclasses.replace(config, **fields)


def test_what_a_run_needs_is_read_from_its_words(config):
    dice = torch.get_rng_state()
    job = prepare(config)
    assert torch.equal(dice, torch.get_rng_state())
    assert job.split.gone == (2,) and len(job.train) == 72
    assert job.method.name == "snu" and job.options == job.method.options
    assert job.output_layer == "4" and job.given is job.oracle is None
    assert job.facts["arch"] == "conftest:conv_net" and job.facts["classes"] == ["a", "b", "c"]
    weights = [job.new().state_dict()["0.0.weight"] for _ in range(2)]
    assert not torch.equal(*weights)  # as random as whoever builds seeds them


def test_without_a_model_normalisation_is_of_the_training_images(config):
    job = prepare(config)
    pixels = job.train.take(torch.arange(72)).numpy() / 255
    assert job.facts["mean"] == pytest.approx([pixels.mean()], abs=1e-4)
    assert job.facts["std"] == pytest.approx([pixels.std()], abs=1e-4)
    assert pixel_unit(job.new()).item() == pytest.approx(pixels.std(), abs=1e-4)


def test_floats_are_not_normalised(config, tmp_path):
    data = pattern_data()
    floats = (data.images.float() - 128) / 16  # below 0, above 1: as their owner wants them
    save_patterns(tmp_path / "patterns.npz", dataclasses.replace(data, images=floats))
    job = prepare(config)
    assert job.facts["mean"] is job.facts["std"] is None
    model = job.new()
    assert not model._forward_pre_hooks
    assert torch.equal(job.data.take(torch.arange(96)), floats)


def test_told_units_go_before_those_of_the_checkpoint(config, saved):
    given = with_(config, model=saved(**UNITS))
    assert prepare(given).facts["mean"] == [0.0]
    told = prepare(with_(given, mean=(0.01,), std=(0.99,)))
    assert told.facts["mean"] == [0.01] and told.facts["std"] == [0.99]


def test_a_checkpoint_that_says_nothing_of_its_units_is_warned_about(config, saved):
    with noted() as notes:
        assert prepare(with_(config, model=saved())).facts["mean"] is None
    assert any("says nothing of mean and std" in note for note in notes)
    with noted() as notes:
        prepare(with_(config, model=saved(**UNITS)))
    assert not any("mean" in note for note in notes)


def test_the_architecture_is_told_or_the_checkpoint_s(config, saved):
    small = seeded(blueprint("resnet18:cifar", channels=1, classes=3))
    path = saved(small, arch="resnet18:cifar", **UNITS)
    assert prepare(with_(config, arch=None, init=path)).facts["arch"] == "resnet18:cifar"
    with pytest.raises(ModelError, match="--arch"):
        prepare(with_(config, arch="conftest:conv_net", init=path))
    assert prepare(with_(config, arch=None)).facts["arch"] == ARCH


def test_code_that_a_checkpoint_names_is_not_run_unless_its_owner_names_it_too(config, saved):
    path = saved(arch="conftest:conv_net", **UNITS)
    with pytest.raises(ModelError, match="give --arch 'conftest:conv_net' if you trust it"):
        prepare(with_(config, arch=None, model=path))
    assert prepare(with_(config, model=path)).facts["arch"] == "conftest:conv_net"


def test_an_architecture_with_other_outputs_is_refused(config):
    with pytest.raises(ModelError, match=r"Expected 3 outputs, one per class, got 7 from 'out'"):
        prepare(with_(config, arch="test_preparation:seven"))


def seven():
    model = nn.Sequential()
    model.add_module("body", conv_net()[:4])
    model.add_module("out", nn.Linear(24, 7))
    return model


@pytest.mark.parametrize("numbered", [True, False])
def test_numbered_classes_get_the_names_that_the_checkpoint_knows(
    config, saved, tmp_path, numbered
):
    names = ("0", "1", "2") if numbered else ("a", "b", "c")
    save_patterns(tmp_path / "patterns.npz", dataclasses.replace(pattern_data(), classes=names))
    path = saved(classes=["x", "y", "z"] if numbered else ["a", "b", "c"], **UNITS)
    job = prepare(with_(config, model=path, forget="class=z" if numbered else "class=c"))
    assert job.split.classes == (("x", "y", "z") if numbered else names)
    assert job.split.gone == (2,)


@pytest.mark.parametrize(
    "classes", [["b", "a", "c"], ["a", "b"], ["a", "b", "c", "d"]], ids=["order", "few", "many"]
)
@pytest.mark.parametrize("flag", ["model", "oracle", "init"])
def test_classes_in_another_order_or_number_are_refused(config, saved, classes, flag):
    with pytest.raises(ModelError, match=r"classes \['.*in the order of the data.*--classes"):
        prepare(with_(config, **{flag: saved(classes=classes, **UNITS)}))


def test_a_reference_trained_on_other_numbers_is_refused(config, saved):
    given = with_(config, model=saved(**UNITS))
    assert prepare(with_(given, oracle=saved(name="same", **UNITS))).oracle is not None
    with pytest.raises(ModelError, match=r"mean of the original, \(0.0,\), got \[0.5\]"):
        prepare(with_(given, oracle=saved(name="other", mean=[0.5], std=[1.0])))


@pytest.mark.parametrize("how", ["untrained", "shifted classes"])
def test_a_model_that_does_not_know_its_images_is_refused_with_the_likely_reasons(
    config, trained, saved, how
):
    if how == "untrained":
        model = seeded(conv_net, 11)
    else:
        model = trained
        with torch.no_grad():
            model[4].weight.copy_(model[4].weight[[1, 2, 0]].clone())
            model[4].bias.copy_(model[4].bias[[1, 2, 0]].clone())
    right = predict(model, pattern_data())
    assert float((right.logits.argmax(1) == right.labels).float().mean()) < 0.4
    with pytest.raises(ModelError, match=r"knows its training images.*--classes.*--mean.*--arch"):
        prepare(with_(config, model=saved(model, **UNITS)))


def test_training_restarts_from_the_given_weights(config, trained, saved):
    job = prepare(with_(config, init=saved(**UNITS)))
    again = job.restart().state_dict()
    assert all(torch.equal(again[name], x) for name, x in trained.state_dict().items())
    assert not torch.equal(job.new().state_dict()["0.0.weight"], again["0.0.weight"])


def test_loading_draws_nothing_from_the_caller_s_dice(config, saved):
    job = prepare(with_(config, model=saved(**UNITS)))
    dice = torch.get_rng_state()
    model = job.load(job.given)
    assert torch.equal(dice, torch.get_rng_state()) and not model.training


def test_the_output_layer_may_be_named(config):
    assert prepare(with_(config, output_layer="4")).output_layer == "4"
    with pytest.raises(ModelError, match=r"output layer among \['4'\], got '3'"):
        prepare(with_(config, output_layer="3"))


def test_validation_images_are_cut_only_where_a_method_asks(config, tmp_path):
    assert len(prepare(config).split.validation) == 0
    ids = tmp_path / "ids.txt"
    ids.write_text("test/00000\ntest/00005\n")
    split = prepare(with_(config, validation=f"ids={ids}")).split
    assert split.validation.ids.tolist() == ["test/00000", "test/00005"]
    assert len(split.test) == 22


def test_the_words_hold_the_config_and_digests_of_what_its_files_hold(config, saved, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("train/00001\ntrain/00002\n")
    full = with_(config, forget=f"ids={ids}", model=saved(**UNITS), oracle=saved(name="o", **UNITS))
    record = json.loads(prepare(full).words)
    assert record["digests"] == {
        "forget": digest(ids),
        "model": digest(tmp_path / "given.safetensors"),
        "oracle": digest(tmp_path / "o.safetensors"),
    }
    assert record["fingerprint"] == prepare(full).split.fingerprint
    assert {field.name for field in dataclasses.fields(full)} < record.keys()


def test_requirements_are_read_before_anything_is_trained(config):
    job = prepare(with_(config, require=("forget_accuracy<=0.01", "test_accuracy/a>0.9")))
    assert [str(r) for r in job.requirements] == ["forget_accuracy<=0.01", "test_accuracy/a>0.9"]


def test_the_device_is_what_there_is():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert chosen_device("auto").type == expected and chosen_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="none on this machine"):
            chosen_device("cuda")


def test_the_moments_of_many_images_are_those_of_all(config, tmp_path):
    data = pattern_data(n=96)
    bright = torch.randint(0, 256, data.images.shape, generator=rng(), dtype=torch.uint8)
    save_patterns(tmp_path / "patterns.npz", dataclasses.replace(data, images=bright))
    facts = prepare(config).facts
    pixels = bright[:72].numpy().astype(np.float64) / 255
    assert facts["mean"] == pytest.approx([pixels.mean()], abs=1e-4)
    assert facts["std"] == pytest.approx([pixels.std()], abs=1e-4)


def test_classes_numbered_alike_in_another_order_are_not_renamed(data):
    numbered = dataclasses.replace(data, classes=("0", "1", "2"))
    assert named_by(numbered, {"classes": ["a", "b", "c"]}).classes == ("a", "b", "c")
    with pytest.raises(ModelError, match="classes .* in the order of the data"):
        named_by(numbered, {"classes": ["0", "2", "1"]})


@pytest.mark.parametrize("facts", [{"classes": ["b", "a", "c"]}, {"mean": [0.9], "std": [0.9]}])
def test_every_model_of_a_job_has_the_classes_and_units_of_the_original(config, facts):
    job = prepare(dataclasses.replace(config, model=None))
    with torch.random.fork_rng():
        state = job.new().state_dict()
    with pytest.raises(ModelError):
        job.load(Checkpoint(state, {**job.facts, **facts}))
    job.load(Checkpoint(state, dict(job.facts)))


def test_one_of_mean_and_std_alone_is_refused_whatever_the_checkpoint_says(config):
    with pytest.raises(OptionError, match="--mean and --std together"):
        prepare(dataclasses.replace(config, mean=(0.5,)))

"""Networks without batch norm, with tokens, dropout, ties and frozen parts go all the way."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from conftest import pattern_data, rng, save_patterns, seeded

pytest.importorskip("timm", reason="needs the extra timm")

import families  # noqa: E402

from unsee import pipeline  # noqa: E402
from unsee.auditing import audit  # noqa: E402
from unsee.audits import AUDITS  # noqa: E402
from unsee.data import choose  # noqa: E402
from unsee.methods import METHODS  # noqa: E402
from unsee.models import Checkpoint, blueprint, pack, reinitialised  # noqa: E402
from unsee.models._safetensors import decode  # noqa: E402
from unsee.nouns import Config, Data  # noqa: E402
from unsee.reporting import page  # noqa: E402

FAMILIES = ("vit", "convnext", "mobilenet", "Tied", "Encoder")


def images_of(size=16, channels=1, n=48):
    data = pattern_data(n, size=8)
    larger = data.images.repeat_interleave(size // 8, 2).repeat_interleave(size // 8, 3)
    return dataclasses.replace(data, images=larger.repeat(1, channels, 1, 1))


def built(family, channels=1, classes=3, seed=0):
    return seeded(blueprint(f"families:{family}", channels=channels, classes=classes), seed)


@pytest.fixture
def drawings_left_out(monkeypatch):
    """Drawing takes longer than all that these tests are about."""
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})


@pytest.mark.parametrize("method", ["snu", "snu_deep", "finetune", "retrain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_unlearns_and_keeps_ties_and_frozen_parts(family, method):
    net, split = built(family), choose(images_of(), "class=c")
    before = copy.deepcopy(net.state_dict())
    more = {} if method == "snu_deep" else {"epochs": 1}
    if method == "retrain":
        more["factory"] = lambda: built(family, seed=1)
    after = METHODS[method](net, split.forget, split.retain, rng=rng(), **more)
    assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())
    own = after.state_dict()
    assert all(bool(x.isfinite().all()) for x in own.values())
    assert any(not torch.equal(before[name], x) for name, x in own.items())
    assert not after.training and len([*after.parameters()]) == len([*net.parameters()])
    if family == "Tied":
        assert after.first.weight is after.second.weight
        assert not after.stem.weight.requires_grad
        fresh = built(family, seed=1) if method == "retrain" else net
        assert torch.equal(after.stem.weight, fresh.stem.weight)


@pytest.mark.parametrize(
    "family, channels, method",
    [("vit", 1, "snu_deep"), ("convnext", 3, "snu"), ("mobilenet", 4, "snu_deep")],
)
def test_a_whole_run_of_a_family(family, channels, method, tmp_path, drawings_left_out):
    data = images_of(channels=channels)
    config = Config(
        data=f"npz:{save_patterns(tmp_path / 'patterns.npz', data)}",
        arch=f"families:{family}",
        forget="class=c",
        method=method,
        train_epochs=1,
        oracle="retrain",
        guard=1,
    )
    run = pipeline.run(config, tmp_path / "run")
    numbers = run.measurements["unlearned"]
    assert run.measurements.keys() == {"original", "unlearned", "retrained", "control"}
    assert numbers["zrf"].value <= 1 and numbers["forget_accuracy"] is not None
    assert numbers["stage_probe_recall"] is not None and numbers["relearn_recall"] is not None
    assert run.explained_layer and not [note for note in run.notes if "Grad-CAM" in note]
    stored = pipeline.read(tmp_path / "run" / "model.safetensors")
    assert stored.into(built(family, channels)).state_dict().keys() == stored.state.keys()


def thousand(side=16, each=2):
    """Return images of noise, 2,000 to train with and 1,000 to test with, of 1,000 classes."""
    labels, parts = torch.arange(1000).repeat(each + 1), ["train"] * 1000 * each + ["test"] * 1000
    shape = (len(labels), 1, side, side)
    images = torch.randint(0, 256, shape, generator=rng(), dtype=torch.uint8)
    names = tuple(f"class {n}" for n in range(1000))
    return Data(images, labels, np.arange(len(labels)).astype(str), np.array(parts), names)


def test_a_whole_run_of_a_thousand_classes_and_its_report(tmp_path):
    config = Config(
        data=f"npz:{save_patterns(tmp_path / 'many.npz', thousand())}",
        arch="families:Tied",
        forget="class=class 2",
        method="snu_deep",
        train_epochs=1,
        oracle="retrain",
        guard=1,
    )
    run = pipeline.run(config, tmp_path / "run")
    assert len(run.data["classes"]) == 1000 and run.forget["gone"] == ["class 2"]
    assert run.measurements["unlearned"]["forget_accuracy"].n == 2
    report = (tmp_path / "run" / "report.html").read_text()
    assert "class 2" in report and len(report) < 4_000_000


@pytest.mark.parametrize(
    "name, channels, classes, size",
    [
        ("convnext", 4, 3, 16),
        ("vit", 3, 3, 16),
        ("Tied", 1, 1000, 16),
        ("large", 3, 3, 224),
    ],
)
def test_channels_classes_and_sizes_are_audited_and_shown(name, channels, classes, size):
    data = images_of(size, channels, n=18 if size > 16 else 48)
    if classes == 1000:
        data = thousand(each=1)
    if name == "large":
        net = seeded(lambda: families.vit(channels, classes, size)).eval()
    else:
        net = built(name, channels, classes).eval()
    split = choose(data, "class=2")
    asked = {"evidence": AUDITS["evidence"]}
    run = audit(split, original=net, unlearned=net, audits=asked)
    assert len(run.data["classes"]) == classes and run.explained_layer
    assert run.measurements["original"]["evidence_remaining"].value == 1
    assert run.arrays["pictures/forget/images"].shape[1:] == (channels, size, size)
    if channels == 4:
        assert "<svg" in page(run)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_a_family_comes_back_with_its_types_and_ties(family, dtype):
    net = built(family)
    state = net.state_dict()
    given = Checkpoint({n: x.to(dtype) if x.is_floating_point() else x for n, x in state.items()})
    loaded = given.into(built(family, seed=1))
    out, _ = decode(pack(given.like(loaded)))
    assert out.keys() == given.state.keys()
    assert all(torch.equal(out[n], x) and out[n].dtype == x.dtype for n, x in given.state.items())
    if family == "Tied":
        assert loaded.first.weight is loaded.second.weight


@pytest.mark.parametrize("family", ["vit", "convnext", "Encoder"])
def test_what_no_module_can_draw_anew_is_built_anew(family):
    net = built(family)
    before = copy.deepcopy(net.state_dict())
    fresh = seeded(lambda: reinitialised(net), seed=5)
    other = built(family, seed=5).state_dict()
    assert all(torch.equal(other[name], x) for name, x in fresh.state_dict().items())
    assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())

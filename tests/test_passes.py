"""Each model sees each image once, nothing is computed that nobody asked for: counted.

So is what makes a program wait for its device: values that Python has to see before it goes on.
"""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import pattern_data, rng
from torch.utils._python_dispatch import TorchDispatchMode

from unsee import auditing, pipeline, training
from unsee.auditing import audit
from unsee.audits import AUDITS
from unsee.data import as_floats, choose, with_fewer
from unsee.errors import OptionError
from unsee.folder import load_run
from unsee.methods import METHODS
from unsee.nouns import Data
from unsee.pipeline import run

PROBES = 20  # passes of one image of a part that show how a network is built, at most


class Passes:
    """Counts by model and image, with gradients and without; a copy of a model is another one."""

    def __init__(self):
        self.models, self.counts, self.alive = {}, {}, []

    def watch(self, name, model):
        self.models[id(model)] = name
        self.alive.append(model)
        model.register_forward_pre_hook(self.note, prepend=True)  # before it normalises
        return model

    def note(self, model, args):
        self.alive.append(model)  # so that no other one gets its number
        name = self.models.setdefault(id(model), f"copy {len(self.models)}")
        grad = torch.is_grad_enabled()
        seen = self.counts.setdefault((name, grad), Counter())
        seen.update(image.contiguous().numpy().tobytes() for image in args[0])

    def of(self, name, *, grad):
        return self.counts.get((name, grad), Counter())


@pytest.fixture
def counted(monkeypatch):
    passes = Passes()

    def watched(split, *, original, unlearned, retrained=None, **more):
        given = {"original": original, "unlearned": unlearned, "retrained": retrained}
        for name, model in given.items():
            if model is not None:
                passes.watch(name, model)
        passes.split = split
        return audit(split, **given, **more)

    monkeypatch.setattr(pipeline, "audit", watched)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: [])
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})
    return passes


def keys(data):
    images = as_floats(data.take(torch.arange(len(data))))
    return [image.contiguous().numpy().tobytes() for image in images]


def seen_once(split, plain, probes):
    """Say whether each image passed once, but for four at most, by which a net is asked.

    How a network is built is found out by one image of each part, and by one of those with maps.
    """
    parts = [keys(part) for part in (split.forget, split.retain, split.test)]
    every = Counter(sum(parts, []))
    assert max(every.values()) == 1
    again = plain - every
    return plain.keys() == every.keys() and len(again) <= 4 and again.total() <= probes


def test_all_audits_of_a_run_show_each_image_to_each_model_once(config, counted, tmp_path):
    run(config, tmp_path / "run")
    for name in ("original", "unlearned", "retrained"):
        plain, mapped = (counted.of(name, grad=grad) for grad in (False, True))
        assert seen_once(counted.split, plain, PROBES)
        assert mapped == Counter(keys(counted.split.forget) + keys(counted.split.retain))


def test_maps_take_one_pass_of_a_sample_for_all_stages_and_both_questions(
    config, counted, tmp_path, monkeypatch
):
    monkeypatch.setattr(auditing, "MAPPED", 7)
    run(replace(config, audits=("evidence",)), tmp_path / "run")
    mapped = counted.of("unlearned", grad=True)
    assert len(mapped) == 14 and {*mapped.values()} == {1}


def test_accuracy_alone_needs_one_pass_and_nothing_else(config, counted, tmp_path, monkeypatch):
    def never(*args, **more):
        raise AssertionError("nobody asked for this")

    for name in ("look_closely", "control", "plane"):
        monkeypatch.setattr(auditing, name, never)
    monkeypatch.setattr("unsee.audits._observe.stages", never)
    done = run(replace(config, audits=("accuracy",)), tmp_path / "run")
    assert {name for name, _ in counted.counts} == {"original", "unlearned", "retrained"}
    for name in ("original", "unlearned", "retrained"):
        assert seen_once(counted.split, counted.of(name, grad=False), 5)
        assert not counted.of(name, grad=True)
    found = {name.partition("/")[0] for name in done.measurements["unlearned"]}
    assert found == {*AUDITS["accuracy"].names}
    assert "only these audits were asked: accuracy" in done.notes


@pytest.mark.parametrize("name", AUDITS)
def test_an_audit_asked_alone_says_what_it_says_among_all(name, trained, patterns, together):
    alone = audit(patterns, original=trained, unlearned=trained, audits={name: AUDITS[name]})
    for key, value in alone.measurements["unlearned"].items():
        assert value == together.measurements["unlearned"][key], key


@pytest.fixture(scope="module")
def together():
    from conftest import _trained

    split = choose(pattern_data(), "class=c")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        return audit(split, original=_trained(), unlearned=_trained())


# A sample of what stays.


def uneven(counts=(60, 30, 9, 1), test=2):
    """Return data with so many training images a class, and a class to forget."""
    labels = [n for n, k in enumerate((20, *counts)) for _ in range(k)]
    labels += [n for n in range(len(counts) + 1) for _ in range(test)]
    parts = ["train"] * (20 + sum(counts)) + ["test"] * (test * (len(counts) + 1))
    images = torch.randint(0, 256, (len(labels), 1, 4, 4), generator=rng(), dtype=torch.uint8)
    ids = np.array([f"{part}/{n}" for n, part in enumerate(parts)])
    return Data(images, torch.tensor(labels), ids, np.array(parts), tuple("abcde"))


@pytest.mark.parametrize("most, each", [(10, [5, 3, 1, 1]), (50, [30, 15, 4, 1]), (4, [1] * 4)])
def test_each_class_keeps_its_share_and_one_image_at_least(most, each):
    split = choose(uneven(), "class=a")
    fewer = with_fewer(split, most, rng())
    assert torch.bincount(fewer.retain.labels).tolist()[1:] == each
    assert fewer.gone == split.gone == (0,) and fewer.stays == 100
    assert fewer.sampled == most / 100 and split.sampled == 1
    assert len({*fewer.retain.ids.tolist()} & {*split.retain.ids.tolist()}) == most
    again, other = (with_fewer(split, most, rng(n)).retain.ids.tolist() for n in (0, 1))
    assert again == fewer.retain.ids.tolist() != other


def test_all_that_stay_are_looked_at_where_the_sample_is_as_large():
    split = choose(uneven(), "class=a")
    assert with_fewer(split, None, rng()) is with_fewer(split, 100, rng()) is split
    with pytest.raises(OptionError, match="--audit-retain of 4 or more"):
        with_fewer(split, 3, rng())


def test_a_sample_has_the_wider_interval_and_is_written_down(config, tmp_path):
    done = run(replace(config, oracle="none", audit_retain=12), tmp_path / "run")
    whole = run(replace(config, oracle="none"), tmp_path / "whole")
    some, all_ = (x.measurements["unlearned"]["retain_accuracy"] for x in (done, whole))
    assert (some.n, all_.n) == (12, 48)
    if some.value == all_.value == 1:  # Wilson's interval at 1 is n / (n + z^2) long from below
        z = 1.959964
        assert some.low == pytest.approx(12 / (12 + z**2))
    assert some.high - some.low > all_.high - all_.low
    assert (
        done.measurements["unlearned"]["test_accuracy"]
        == (whole.measurements["unlearned"]["test_accuracy"])
    )
    record = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert record["data"]["counts"]["retain"] == 48
    assert record["data"]["audited"] == {"retain": 12}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["audit_retain"] == 12
    assert (
        "looked at 12 of the 48 images that stay" in (tmp_path / "run" / "report.html").read_text()
    )
    assert "audited" not in whole.data and load_run(tmp_path / "run") == done


def test_a_probe_is_fitted_to_forgotten_images_in_proportion_to_the_sample(trained, monkeypatch):
    fitted = []

    def spy(features, labels, asked):
        fitted.append(torch.bincount(labels, minlength=3).tolist())
        return torch.zeros(len(asked), dtype=torch.long)

    monkeypatch.setattr("unsee.audits._probe.ridge_probe", spy)
    only = {"probe": AUDITS["probe"]}
    split = choose(pattern_data(), "class=c")
    audit(split, original=trained, unlearned=trained, audits=only, audit_retain=12)
    assert fitted[0] == [6, 6, math.ceil(24 * 12 / 48)]


@pytest.mark.parametrize(
    "more, words",
    [
        ({"audits": ("acuracy",)}, "--audits among .*'accuracy'.* got .'acuracy'."),
        ({"audit_retain": 0}, "--audit-retain of 1 or more"),
        ({"audits": ("accuracy",), "require": ("membership_auc<=0.6",)}, "measurement among"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(config, tmp_path, more, words):
    with pytest.raises(OptionError, match=words):
        run(replace(config, **more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Waits(TorchDispatchMode):
    """Counts the values that Python asks of tensors: on a GPU it waits for each of them."""

    ASKED = (
        *("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "allclose"),
        *("bincount", "repeat_interleave", "unique_dim"),
    )

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        rows = args[1] if name in ("index", "index_put_", "index_put") else ()
        by_mask = any(x is not None and x.dtype == torch.bool for x in rows)
        self.count += name in self.ASKED or by_mask
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["retrain", "finetune", "snu", "scrub", "neggrad_plus"])
def test_no_step_of_training_waits_for_the_device(name, model, split):
    def waits(epochs):
        given = {"factory": lambda: model} if name == "retrain" else {}
        with Waits() as found:
            METHODS[name](model, split.forget, split.retain, rng=rng(), epochs=epochs, **given)
        return found.count

    assert waits(1) == waits(4)  # of which each has steps of its own

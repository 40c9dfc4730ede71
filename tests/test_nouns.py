import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from unsee.data import load
from unsee.errors import DataError, RunError, SplitError
from unsee.nouns import Config, Measurement, Run

RUN = Run(
    data={"name": "digits", "fingerprint": "f00d"},
    forget={"rule": "class=3", "count": 2},
    measurements={"original": {"auc": Measurement(0.5, 0.4, 0.6, 100), "recall": None}},
    environment={"torch": "2"},
    seed=0,
    method="snu",
    options={"lr": 0.1, "target": "own", "epochs": 1, "deep": True},
    notes=("two twins stay",),
)


def test_a_run_survives_json():
    assert Run.from_json(RUN.to_json()) == RUN
    assert json.loads(RUN.to_json())["models"]["retrained"] is None


def test_a_run_of_later_days_is_read_as_far_as_it_is_known():
    record = json.loads(RUN.to_json()) | {"epsilon": {"value": 1}}
    assert Run.from_json(json.dumps(record)) == RUN


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", '{"schema": 1}'),
        *('{"schema": 2, "models": {}}', '{"schema": 1, "models": 3}'),
    ],
)
def test_what_is_no_run_is_refused(text):
    with pytest.raises(RunError, match=r"Expected an audit\.json"):
        Run.from_json(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_measurement_is_a_number(value):
    with pytest.raises(RunError, match="finite"):
        Measurement(value, 0, 1, 10)
    with pytest.raises(RunError, match="finite"):
        Measurement(0, 0, value, 10)


CONFIG = Config(
    data="mnist:somewhere",
    mean=(0.5,),
    std=(0.25,),
    forget="class=3",
    options={"lr": 0.1, "epochs": 2, "target": "own"},
    require=("forget_accuracy<=0.01", "test_accuracy>=0.9"),
)


@pytest.mark.parametrize("config", [CONFIG, Config()], ids=["told", "default"])
def test_a_config_survives_json(config):
    text = json.dumps({field.name: getattr(config, field.name) for field in fields(config)})
    assert Config.from_json(text) == config


def test_a_config_needs_no_more_than_what_differs_from_the_default():
    assert Config.from_json('{"seed": 4, "fingerprint": "f00d"}') == Config(seed=4)


@pytest.mark.parametrize("text", ["", "[1]", "3", "null", '"digits"', '{"mean": 3}'])
def test_what_is_no_config_is_refused(text):
    with pytest.raises(RunError, match=r"Expected a config\.json"):
        Config.from_json(text)


def test_a_fingerprint_sees_every_change(data):
    changed = data.images.clone()
    changed[0, 0, 0, 0] ^= 1
    others = [
        replace(data, images=changed),
        replace(data, images=data.images.flip(2)),
        replace(data, images=data.images.view(48, 1, 2, 8)),
        replace(data, labels=data.labels.flip(0)),
        replace(data, ids=np.char.add(data.ids, "x")),
        replace(data, parts=data.parts[::-1]),
        replace(data, classes=("a", "b", "d")),
        data[np.arange(48)[::-1].copy()],
        data[:47],
    ]
    assert len({other.fingerprint for other in [data, replace(data), *others]}) == 1 + len(others)


def test_a_part_copies_no_pixels_and_remembers_its_rows(data):
    some = data[np.array([5, 3, 40])][np.array([True, False, True])]
    assert some.images is data.images
    assert some.ids.tolist() == ["5", "40"] and some.labels.tolist() == [2, 1]
    assert torch.equal(some.take(torch.tensor([1, 0])), data.images[[40, 5]])
    assert len(data.part("test")) == 12 and len(data.part("validation")) == 4


def test_columns_follow_their_rows(data):
    named = replace(data, columns={"who": np.arange(48).astype(str)})
    assert named[10:12].columns["who"].tolist() == ["10", "11"]


def test_a_split_refuses_empty_and_overlapping_sets(split):
    assert split.gone == (2,) and len(split.validation) == 4 and split.classes == ("a", "b", "c")
    for part in ("forget", "retain", "test"):
        with pytest.raises(SplitError, match=f"to {part}, got none"):
            replace(split, **{part: split.forget[:0]})
    with pytest.raises(SplitError, match="overlap"):
        replace(split, retain=split.forget)


def test_single_images_leave_no_class_gone(single):
    assert single.gone == () and len(single.forget) == 4


def test_data_needs_unique_ids_and_known_parts(data):
    with pytest.raises(DataError, match="47 repeated"):
        replace(data, ids=np.array(["same"] * 48))
    with pytest.raises(DataError, match="'valid'"):  # numpy cuts strings to the width of the array
        parts = np.array(["train"] * 48)
        parts[:4] = "validation"
        replace(data, parts=parts)
    with pytest.raises(DataError, match="'labels': 47"):
        replace(data, labels=data.labels[1:])
    with pytest.raises(DataError, match="digits"):
        load("cifar")

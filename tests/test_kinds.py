"""Every kind of request: what its cells ask, and the page that is made of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import unsee

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402  (the folder is not a package: its scripts are run by hand)
import kinds  # noqa: E402

FOUND = cells.read_all(kinds.RESULTS)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "WORK", tmp_path)


def test_there_is_a_cell_for_every_kind_and_seed():
    assert len(kinds.digests()) == len(kinds.KINDS) * len(kinds.SEEDS)
    assert {kinds.split(name)[0] for name in kinds.digests()} == {*kinds.KINDS}


def test_ten_ids_are_ten_training_images_and_others_with_another_seed():
    first, second = (kinds.ids(seed).read_text().split() for seed in (0, 1))
    assert len({*first}) == len({*second}) == 10 and first != second
    data = unsee.load("digits")
    assert {*first, *second} <= {*data.ids[data.parts == "train"].tolist()}


def test_a_source_is_a_thirteenth_of_the_same_digits_side_by_side():
    data = unsee.load(f"parquet:{kinds.by_source()}")
    split = unsee.choose(data, kinds.RULES["source"])
    assert {*data.columns["source"].tolist()} == {"", *map(str, range(kinds.SOURCES))}
    assert 90 <= len(split.forget) <= 138  # 138 of 1,797, less those that are test images
    assert split.gone == ()  # of every class some stay
    labels = np.array([int(data.classes[x]) for x in data.labels.tolist()])
    assert np.bincount(labels).tolist() == np.bincount(load_digits().target).tolist()


def test_an_image_of_the_source_is_the_digit_that_scikit_learn_has():
    data = unsee.load(f"parquet:{kinds.by_source()}")
    digits = unsee.load("digits")
    a, b = (x.images[:50].float().flatten(1).numpy() for x in (data, digits))
    for mine, theirs in zip(a, b, strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.95  # resized by another library


def test_the_page_shows_means_and_intervals_over_seeds():
    def cell(accuracy):
        one = {"forget_accuracy": {"value": accuracy}, "few_shot_recall": None}
        rest = {key: {"value": 0.5} for key in [*kinds.SHOWN.values()][1:4]}
        return {
            "forget": 10,
            "models": dict.fromkeys(kinds.MODELS, one | rest),
            "verdict": {"light": "amber", "kind": "one reference"},
            "image_gradients": {"train": 1000.0, "unlearn": 20.0, "retrain": 900.0},
            "environment": {"device": "an abacus", "threads": "1", "precision": "float32"},
        }

    text = kinds.page({f"ten-{seed}": cell(x) for seed, x in enumerate((0.7, 0.8, 0.9))})
    # Student's t with two degrees of freedom: 4.303 * .1 / sqrt(3)
    assert "| unlearned | 0.800 ±0.248 | 0.500 ±0.000 |" in text
    assert "3 amber (one reference)" in text and "an abacus" in text


@pytest.mark.skipif(not FOUND, reason="not measured yet: make kinds")
def test_the_page_is_made_of_the_cells_and_the_cells_of_these_sources():
    assert kinds.PAGE.read_text() == kinds.page(FOUND)
    current = kinds.digests()
    assert {name: cell["sources"] for name, cell in FOUND.items()} == current
    assert json.dumps(FOUND)

"""The reproduction: what is measured, and that its words follow from its numbers."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from conftest import pattern_data, save_patterns

from unsee.errors import DivergenceError
from unsee.nouns import Config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402  (the folder is not a package: its scripts are run by make reproduce)
import frontier  # noqa: E402
import reproduce  # noqa: E402
import reproduction_page as pages  # noqa: E402

FOUND = cells.read_all(reproduce.RESULTS)
BEFORE = {
    "forget_accuracy": 0.95,
    "forgotten_test_accuracy": 0.9,
    "retain_accuracy": 0.95,
    "test_accuracy": 0.9,
    "membership_auc": 0.55,
    "membership_auc/margin": 0.45,
    "few_shot_recall": 0.8,
    "evidence_remaining": 1.0,
    "evidence_of_answer": 1.0,
    "iou_true": 1.0,
    "pearson_true": 1.0,
    "iou_answer": 1.0,
    "pearson_answer": 1.0,
}
AFTER = BEFORE | {
    "forget_accuracy": 0.0,
    "forgotten_test_accuracy": 0.0,
    "test_accuracy": 0.89,
    "few_shot_recall": 0.5,
    "evidence_remaining": 0.05,
    "iou_true": 0.3,
    "iou_answer": 0.4,
}


def number(value):
    return {"value": value, "low": value, "high": value, "n": 100}


def made_up(data, label, kind, measured):
    cell = {
        "sources": "made up",
        "data": data,
        "class": label,
        "title": f"thing {label}",
        "measured": {name: number(value) for name, value in measured.items()},
        "maps": {"true": [[0.0, 1.0], [2.0, 4.0]], "answer": [[1.0, 0.0], [0.0, 9.0]]},
        "environment": {"device": "an abacus", "threads": "1", "precision": "float32"},
    }
    if kind == "original":
        counts = {"forget": 1000, "retain": 2000, "unseen": 1000, "test": 3000, "maps": 200}
        return cell | {"n": counts, "control": {"iou_true": number(0.1)}}
    epochs = int(kind[6])
    cost = {"seconds": 30.0 * epochs, "image_gradients": 20000.0 * epochs}
    return cell | cost | {"retraining_gradients": 450000, "epochs": epochs}


def everything(**changes):
    """All cells of both data sets; ``changes`` are figures of every first setting."""
    found = {}
    for name in reproduce.digests():
        data, label, kind = reproduce.numbered(name)
        measured = BEFORE if kind == "original" else AFTER
        if kind == pages.FIRST:
            measured = measured | changes
        if kind.endswith("buffer00"):
            measured = measured | {"test_accuracy": 0.7}
        found[name] = made_up(data, label, kind, measured)
    return found


def claims(found, data="mnist"):
    """The lines told of each claim."""
    return {name: tell(found, data) for name, (_, tell) in pages.CLAIMS.items()}


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    path = tmp_path_factory.mktemp("patterns")
    data = save_patterns(path / "patterns.npz", pattern_data(240))
    config = Config(data=f"npz:{data}", arch="conftest:conv_net", forget="class=c", train_epochs=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier, "MODELS", path / "models")
        found = reproduce.Subject("patterns-class2", config)
        _ = found.original
        yield found


def test_the_original_is_measured_with_a_control(subject):
    cell = reproduce.before(subject)
    assert cell["n"] == {"forget": 60, "retain": 120, "unseen": 20, "test": 40, "maps": 60}
    measured = {name: m and m["value"] for name, m in cell["measured"].items()}
    assert measured["evidence_remaining"] == pytest.approx(1)
    assert measured["iou_true"] == 1 and measured["pearson_true"] == pytest.approx(1)
    assert cell["control"]["pearson_true"]["value"] < 0.95
    assert len(cell["maps"]["true"]) == 8
    json.dumps(cell, allow_nan=False)


def test_a_class_is_unlearned_and_measured(subject):
    cell = reproduce.after(subject, reproduce.Setting(2, 0.5))
    assert cell["kept"] == 60 and cell["retraining_gradients"] == 4 * 120
    drawn = 2 * 60  # of the buffer, an epoch: two batches, each of all that it has
    assert cell["image_gradients"] == pytest.approx(60 / 3 + 2 * (60 + drawn), rel=0.01)
    measured = {name: m and m["value"] for name, m in cell["measured"].items()}
    assert {*pages.SHOWN} <= {*measured} and "membership_auc/learned" in measured
    assert measured["forget_accuracy"] < measured["retain_accuracy"]
    assert measured["pearson_true"] is None or measured["pearson_true"] < 1
    json.dumps(cell, allow_nan=False)


def test_a_method_that_diverges_is_a_failure_and_no_end(subject, monkeypatch):
    def diverging(*_, **__):
        raise DivergenceError("Expected finite losses")

    monkeypatch.setattr(reproduce, "unlearn", diverging)
    cell = reproduce.after(subject, reproduce.Setting(1, 0.0))
    assert cell["failed"] == "Expected finite losses"
    name = "mnist-class3-epochs1-buffer10"
    found = everything()
    found[name] = cell | {"data": "mnist", "class": 3, "title": "thing 3"}
    assert claims(found)["Disrupts the forget set"][0].startswith("does not hold: 9 of 10")
    assert "| thing 3 | 1 epoch, 10 % buffer | failed: Expected finite losses |" in pages.page(
        found
    )
    assert "nan" not in pages.picture(found)


def test_images_to_look_at_are_drawn_from_each_part(subject, monkeypatch):
    monkeypatch.setattr(reproduce, "MOST", {"forget": 7, "retain": 8, "test": 9})
    split = reproduce.some(subject.bench.split)
    assert [len(x) for x in (split.forget, split.retain, split.test)] == [7, 8, 20 + 9]
    assert split.gone == (2,) and int((split.test.labels == 2).sum()) == 20
    again = reproduce.some(subject.bench.split)
    assert again.forget.ids.tolist() == split.forget.ids.tolist()


def test_correlation_is_that_of_each_map():
    a = torch.rand((5, 4, 4), generator=torch.Generator().manual_seed(0))
    b = torch.rand((5, 4, 4), generator=torch.Generator().manual_seed(1))
    rows = [torch.stack([a[n].flatten(), b[n].flatten()]) for n in range(5)]
    expected = torch.stack([torch.corrcoef(pair)[0, 1] for pair in rows])
    assert torch.allclose(reproduce.pearson(a, b), expected, atol=1e-6)
    a[2] = 0.0  # an empty map has no correlation
    assert len(reproduce.pearson(a, b)) == 4


def test_every_cell_has_a_place():
    names = [*reproduce.digests()]
    assert len(names) == 2 * 10 * 5 and {*reproduce.SETTINGS} == {*pages.SETTINGS}
    assert {reproduce.numbered(name)[0] for name in names} == {*pages.DATA} == {*reproduce.BASES}
    assert reproduce.numbered("cifar10-class3-epochs1-buffer00") == (
        "cifar10",
        3,
        "epochs1-buffer00",
    )


def test_claims_that_hold_are_said_to_hold():
    told = claims(everything())
    for name in ("Disrupts the forget set", "One to two epochs", "Attention refocused"):
        assert "holds: 10 of 10 classes" in told[name][0]
    first, second = told["No extensive retention of data"]
    assert "10 % buffer: holds: 10 of 10 classes; test accuracy falls by 0.010 (" in first
    assert "no buffer: does not hold: 0 of 10 classes; test accuracy falls by 0.200 (" in second
    assert "holds: 10 of 10 classes; 0.044 (0.044-0.044)" in told["Efficient"][0]


@pytest.mark.parametrize(
    "change, claim",
    [
        ({"forget_accuracy": 0.02}, "Disrupts the forget set"),
        ({"forgotten_test_accuracy": 0.02}, "Disrupts the forget set"),
        ({"test_accuracy": 0.87}, "No extensive retention of data"),
        ({"test_accuracy": 0.87}, "One to two epochs"),
        ({"evidence_remaining": 0.3}, "Attention refocused"),
        ({"iou_answer": 0.6}, "Attention refocused"),
    ],
)
def test_claims_that_do_not_hold_are_said_not_to(change, claim):
    assert "does not hold: 0 of 10 classes" in claims(everything(**change))[claim][0]


def test_one_class_is_enough_to_fail():
    found = everything()
    cell = copy.deepcopy(found["mnist-class7-epochs1-buffer10"])
    cell["measured"]["forget_accuracy"] = number(0.4)
    found["mnist-class7-epochs1-buffer10"] = cell
    line = claims(found)["Disrupts the forget set"][0]
    assert line.startswith("does not hold: 9 of 10 classes") and "0.040 (0.000-0.400) after" in line
    assert claims(found, "cifar10")["Disrupts the forget set"][0].startswith("holds: 10 of 10")


def test_what_is_dear_is_called_so():
    found = everything()
    for name, cell in found.items():
        if "seconds" in cell:
            found[name] = cell | {"image_gradients": 50000.0}
    assert "does not hold: 0 of 10" in claims(found)["Efficient"][0]


def test_the_page_says_what_was_not_measured():
    assert "Not measured." in pages.page({})
    found = {name: cell for name, cell in everything().items() if name.startswith("mnist")}
    page = pages.page(found)
    assert "CIFAR-10 (JPEG): not measured yet." in page and "## CIFAR-10" not in page
    assert "## MNIST" in page and "MNIST: not measured" not in page


def test_the_picture_has_one_scale_a_class():
    found = everything()
    text = pages.picture(found)
    root = ElementTree.fromstring(text)
    fills = [x.get("fill") for x in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert fills.count("#1e1e1e") == 3 * 20  # the original's most, and what exceeds it
    assert len(text) < 150_000


def test_the_script_measures_a_class_and_writes_page_and_picture(tmp_path, monkeypatch):
    data = save_patterns(tmp_path / "patterns.npz", pattern_data(240))
    config = Config(data=f"npz:{data}", arch="conftest:conv_net", train_epochs=4)
    monkeypatch.setattr(frontier, "MODELS", tmp_path)
    monkeypatch.setattr(reproduce, "BASES", {"mnist": config})
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "cells")
    monkeypatch.setattr(pages, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(pages, "PICTURE", tmp_path / "picture.svg")
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "mnist-class2"])
    reproduce.subject_of.cache_clear()
    reproduce.main()
    reproduce.subject_of.cache_clear()
    found = cells.read_all(tmp_path / "cells")
    assert {*found} == {f"mnist-class2-{kind}" for kind in ("original", *pages.SETTINGS)}
    text = (tmp_path / "page.md").read_text()
    assert text == pages.page(found) and "of 1 classes" in text and "| c | 2 epochs" in text
    assert (tmp_path / "picture.svg").read_text().count("<text") > 1


def test_committed_cells_were_made_by_the_committed_sources():
    current = reproduce.digests()
    stale = [name for name, cell in FOUND.items() if cell["sources"] != current.get(name)]
    assert not stale, f"make reproduce: the sources have changed since {stale} were measured"


def test_page_and_picture_show_the_committed_cells():
    if not FOUND and not pages.PAGE.exists():
        pytest.skip("no cell is committed yet")
    assert pages.PAGE.read_text() == pages.page(FOUND)
    assert pages.PICTURE.read_text() == pages.picture(FOUND)
    assert len(pages.PICTURE.read_bytes()) < 150_000


def test_the_models_are_those_of_the_frontier():
    assert reproduce.BASES["mnist"] == replace(
        frontier.TASKS["mnist-class3"].config, forget=reproduce.BASES["mnist"].forget
    )

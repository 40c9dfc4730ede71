"""The evidence for sequences and harms: the page says what the cells say, and no more."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import small_config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402  (the folder is not a package: its scripts are run by hand)
import sequences  # noqa: E402

FOUND = cells.read_all(sequences.RESULTS)
PLACE = {"device": "a machine", "threads": "2", "precision": "float32"}


def number(value, n=100):
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": n}


def standing(test, *accuracies):
    """Of the requests so far: 10, 20, ... images each."""
    asked = [
        {"forget_accuracy": number(value, 10 * n), "membership_auc": number(0.5)}
        for n, value in enumerate(accuracies, 1)
    ]
    utility = {"retain_accuracy": number(0.99), "test_accuracy": number(test)}
    return {"utility": utility, "requests": asked}


def served(gap, first, last):
    return {
        "rules": ["class=3", "random=1%"],
        "before": standing(0.97, 1.0, 1.0),
        "training": {"seconds": 10.0, "image_gradients": 1000.0},
        "after": [
            {"seconds": 1.0, "image_gradients": first, "images": 10, **standing(0.96, 0.125)},
            {"seconds": 9.0, "image_gradients": last, "images": 20, **standing(0.95, 0.25, 0.875)},
        ],
        "retrained": standing(0.95 - gap, 0.5, 0.75),
        "retraining": {"seconds": 10.0, "image_gradients": 900.0},
        "gaps": {"test_accuracy": number(gap)},
        "environment": PLACE,
    }


def test_the_page_is_made_from_the_cells():
    text = sequences.PAGE.read_text()
    assert text == sequences.page(text, FOUND)
    assert text.count(sequences.MARK) == 1


def test_no_cell_is_stale_or_missing():
    if not FOUND:
        assert "Not measured yet" in sequences.PAGE.read_text()
        return
    now = sequences.digests()
    assert FOUND.keys() == now.keys()
    stale = [name for name, cell in FOUND.items() if cell["sources"] != now[name]]
    assert not stale, f"make sequences: the sources have changed since {stale} were measured"


@pytest.mark.parametrize(
    "gap, last, near, cheap",
    [
        (0.02, 130, "yes", "yes"),
        (-0.02, 131, "yes", "**no**"),
        (0.021, 100, "**no**", "yes"),
        (-0.03, 200, "**no**", "**no**"),
    ],
)
def test_a_target_is_reached_or_not_by_the_numbers_alone(gap, last, near, cheap):
    text = sequences.block({"digits-0": served(gap, 100, last)})
    (row,) = [line for line in text.splitlines() if line.startswith("| digits-0 |")]
    told = [cell.strip() for cell in row.split("|")]
    assert told[6] == near and told[10] == cheap
    assert told[5] == "±0.02" and told[7] == f"{last / 100:.2f}"


def test_mnist_is_held_to_half_of_that():
    text = sequences.block({"mnist-0": served(0.015, 100, 100)})
    assert "±0.01 | **no**" in text


def test_forget_accuracy_of_all_requests_is_pooled_over_their_images():
    text = sequences.block({"digits-0": served(0.0, 100, 100)})
    (row,) = [line for line in text.splitlines() if line.startswith("| 2 | 9.00")]
    pooled = (10 * 0.25 + 20 * 0.875) / 30
    assert row.split(" | ")[5:8] == ["0.875", f"{pooled:.3f}", "0.250"]


def test_requests_that_were_not_made_yet_leave_a_gap_in_the_matrix():
    text = sequences.block({"digits-mixed": served(0.0, 100, 100)})
    assert "| 1 `class=3` | 1.000 | 0.125 | 0.250 | 0.500 |" in text
    assert "| 2 `random=1%` | 1.000 |  | 0.875 | 0.750 |" in text
    assert "Ten requests" not in text


def test_a_harm_is_told_by_model_and_without_what_was_not_asked():
    models = {
        name: {
            "seconds": 1.0,
            "image_gradients": 10.0,
            "corrected_accuracy": number(0.25),
            "forget_accuracy": number(0.5),
            "test_accuracy": number(0.75),
        }
        for name in ("original", sequences.METHOD, *sequences.OTHERS, "retrained")
    }
    text = sequences.block({"mislabel-mnist": {"models": models, "environment": PLACE}})
    rows = [line for line in text.splitlines() if line.startswith("| mislabel-mnist")]
    assert [row.split(" | ")[1] for row in rows] == [*models]
    assert rows[0] == "| mislabel-mnist | original |  | 0.250 | 0.500 | 0.750 | 1.00 | 10 |"


def test_what_is_asked_for_is_part_of_a_cells_digest(monkeypatch):
    before = sequences.digests()
    changed = replace(sequences.HARMS["backdoor-digits"], train_epochs=13)
    monkeypatch.setitem(sequences.HARMS, "backdoor-digits", changed)
    now = sequences.digests()
    assert {name for name in now if now[name] != before[name]} == {"backdoor-digits"}


@pytest.mark.filterwarnings("ignore:half of the test images")
def test_a_cell_is_measured_as_it_is_told(tmp_path):
    config = replace(small_config(tmp_path), oracle="none", guard=1.0, retain_fraction=0.5)
    config = replace(config, method=sequences.METHOD, options={})
    cell = cells.rounded(sequences.Serving(config, ("class=c", "random=10%")).cell())
    assert [len(then["requests"]) for then in cell["after"]] == [1, 2]
    assert cell["gone"] == [["c"], []] and cell["after"][0]["images"] == 24
    assert cell["retrained"]["requests"][0]["forget_accuracy"]["value"] == 0
    text = sequences.block({"digits-mixed": cell})
    assert "| 2 `random=10%` |" in text and ", threads: " in text


@pytest.mark.filterwarnings("ignore:half of the test images")
def test_a_harm_is_measured_as_it_is_told(monkeypatch):
    monkeypatch.setattr(sequences, "OTHERS", ())
    config = replace(sequences.HARMS["backdoor-digits"], train_epochs=1)
    cell = cells.rounded(sequences.harmed(config))
    assert [*cell["models"]] == ["original", sequences.METHOD, "retrained"]
    for told in cell["models"].values():
        assert 0 <= told["trigger_success"]["value"] <= 1 and told["image_gradients"] > 0
    text = sequences.block({"backdoor-digits": cell})
    assert "| backdoor-digits | retrained |" in text

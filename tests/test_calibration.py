"""The verdict is calibrated: its simulation is made again from the committed measurements."""

import json
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest

from unsee.auditing import Inquiry
from unsee.audits import AUDITS, observe
from unsee.draws import generator
from unsee.erasure import trained
from unsee.preparation import prepare
from unsee.verdict import detection_limit, load_policy

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import calibration  # noqa: E402  (the folder is not a package: its scripts are run by make verify)
import provenance  # noqa: E402
import simulation  # noqa: E402

RECORD = json.loads((ROOT / "docs" / "evidence" / "calibration.json").read_text())
ROWS = RECORD["verdicts"]


@cache
def again():
    return simulated_again(RECORD["cells"])


def simulated_again(cells):
    return json.loads(json.dumps(simulation.simulated(cells)))


def lights(row):
    counts = {}
    for told, n in ROWS[row].items():
        light = told.partition(":")[0]
        counts[light] = counts.get(light, 0) + n
    return counts


def measured(kind, audit, rule="class"):
    cells = RECORD["cells"].items()
    return [values[audit][0] for name, values in cells if name.startswith(f"{kind}-{rule}-1")]


def test_the_measurements_were_made_by_the_committed_sources():
    assert RECORD["sources"] == provenance.earliest_of_calibration(), "make verify"


def test_the_rules_make_the_committed_verdicts_of_the_committed_measurements():
    assert again()["verdicts"] == ROWS and again()["limit"] == RECORD["limit"]


def test_every_cell_that_the_tables_need_was_measured():
    assert {cell.name for cell in calibration.cells()} == RECORD["cells"].keys()
    names = {*load_policy().classes}
    for name, values in RECORD["cells"].items():
        assert {*values} == (names if "-class-" in name else {*load_policy().images}), name


def test_a_retrained_model_is_green_on_seeds_that_no_margin_was_chosen_by():
    found = lights("retrained, leave one out, seeds 100-123")
    assert found.get("green", 0) >= 23 and sum(found.values()) == 24


@pytest.mark.parametrize("seeds", ["seeds 0-23", "seeds 100-123"])
def test_doing_nothing_is_always_red(seeds):
    assert ROWS[f"noop, {seeds}"] == {"red: still remembers": 24}
    assert ROWS[f"noop, one reference, {seeds}"] == {"red: still remembers": 24}


@pytest.mark.parametrize("kind", ["head_only", "random_head"])
@pytest.mark.parametrize("references", ["", ", one reference"])
def test_controls_are_never_green(kind, references):
    found = lights(f"{kind}{references}, seeds 100-123")
    assert "green" not in found and sum(found.values()) == 24


def test_the_controls_are_called_what_they_are():
    assert ROWS["random_head, seeds 100-123"] == {"red: damaged": 24}
    shallow = ROWS["head_only, seeds 100-123"].get("red: shallow", 0)
    assert shallow >= 23


def test_one_retrained_model_does_not_condemn_another():
    for seeds in ("seeds 0-23", "seeds 100-123"):
        assert lights(f"retrained, one reference, {seeds}") == {"amber": 24}


def test_fewer_retrained_models_are_less_often_green_and_never_wrong():
    green = []
    for k in simulation.FEWER:
        told = f"{k} retrained models, seeds 100-123"
        found = lights(f"retrained, {told}")
        assert "red" not in found
        green.append(found.get("green", 0))
        assert lights(f"noop, {told}") == {"red": 24}
        assert "green" not in lights(f"head_only, {told}")
    assert green[:2] == [0, 0] and green == sorted(green)


def test_one_retrained_model_is_enough_to_suspect_an_edited_output_layer():
    found = ROWS["head_only, one reference, seeds 100-123"]
    assert found.get("amber: shallow", 0) + found.get("red: shallow", 0) >= 22


def test_of_random_images_nobody_is_told_that_nothing_was_found():
    found = ROWS["random 10 %: noop"]
    assert {*found} <= {"red: still remembers", "grey: cannot tell"}
    assert lights("random 10 %: retrained, leave one out").get("red", 0) <= 2


def test_climbing_beyond_every_retrained_loss_is_over_forgotten():
    found = ROWS["random 10 %: ascent"]
    assert found["red: over-forgotten"] >= 3  # some lost accuracy elsewhere too: damage comes first
    assert {*found} <= {"red: over-forgotten", "red: damaged"} and sum(found.values()) == 8
    highest = max(measured("oracle", "membership_auc", rule="random"))
    lowest = min(measured("oracle", "membership_auc", rule="random"))
    climbed = measured("ascent", "membership_auc", rule="random")
    assert sum(x < lowest for x in climbed) >= 7 and max(climbed) < highest


def test_what_reports_quote_is_what_was_simulated():
    assert detection_limit()["rows"] == RECORD["limit"]
    assert simulation.LIMIT.read_text() == simulation.quoted(RECORD)
    assert [row["share"] for row in RECORD["limit"]] == [0.01, 0.05, 0.1, 0.25]


def test_the_page_shows_these_verdicts():
    text = (ROOT / "docs" / "evidence" / "calibration.md").read_text()
    assert text == simulation.page(RECORD)


def test_other_numbers_make_other_verdicts():
    """The replay is no tautology: damage a model, and its verdict changes."""
    cells = json.loads(json.dumps(RECORD["cells"]))
    name = simulation.name_of("oracle", "class", 100)
    cells[name]["test_accuracy"] = [0.5, 0.5, 0.5]
    changed = simulated_again(cells)["verdicts"]
    assert changed["retrained, leave one out, seeds 100-123"]["red: damaged"] >= 1


@pytest.mark.parametrize("seed", [300, 301])
def test_a_fresh_retrained_model_is_like_the_committed_ones(seed):
    """Trained here and now, by seeds that are in no table."""

    job = prepare(replace(calibration.BASE, forget="class=3"))
    model = trained(job, job.split, "retrain", seed=seed)
    audits = {name: AUDITS[name] for name in calibration.ASKED}
    view = observe("original", model, job.split, partial(generator, 0))
    numbers, _ = Inquiry(job.split, audits=audits).answers(view, view, None)
    values = {n: [m.value, m.low, m.high] for n in simulation.NAMES if (m := numbers[n])}
    oracles, originals = (
        [RECORD["cells"][simulation.name_of(kind, "class", n)] for n in simulation.TESTED]
        for kind in ("oracle", "original")
    )
    found = simulation.judged(values, originals[0], oracles, gone=True)
    assert found["light"] == "green", found["reasons"]

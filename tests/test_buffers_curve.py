"""The curve of retention against buffer: what is measured, and that its words follow from it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import save_patterns

from unsee.erasure import trained as trained_on
from unsee.models import Checkpoint, pack
from unsee.nouns import Config
from unsee.preparation import chosen_split, lay_out

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import buffers as curve  # noqa: E402  (the folder is not a package: make buffers runs its scripts)
import cells  # noqa: E402

FOUND = cells.read_all(curve.RESULTS)
UNITS = {"mean": [0.0], "std": [1.0], "classes": ["a", "b", "c"]}


def number(value, n=100):
    return {"value": value, "low": value, "high": value, "n": n}


def made_up(retained=0.95, **more):
    measured = dict.fromkeys(curve.SHOWN.values(), number(0.25))
    measured |= {"retain_accuracy": number(retained, 10_000)}
    machine = {"device": "an abacus", "threads": "1", "precision": "float32"}
    return {"sources": "made up", "measured": measured, "environment": machine, **more}


def everything(**retained):
    """All cells, made up; ``retained`` is accuracy by the name of a cell, 0.95 for the others."""
    spent = {"seconds": 12.0, "image_gradients": 20_000.0, "images": 450}
    return {
        name: made_up(retained.get(name.replace("-", "_"), 0.95), **(spent if n > 1 else {}))
        for n, name in enumerate((*curve.GIVEN, *curve.CELLS))
    }


def test_the_cells_are_the_buffers_that_the_curve_is_about():
    assert [*curve.digests()] == [*curve.GIVEN, *curve.CELLS]
    assert {share for share, _ in curve.CELLS.values()} == {1.0, 0.1, 0.05, 0.01, 0.0}
    assert {*curve.TARGETS} == {0.01, 0.0}


def test_the_table_has_a_row_for_every_cell_that_is_there():
    text = curve.table(everything(all=0.941))
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [
        *("| original", "| retrained", "| 100%", "| 10%", "| 10%"),
        *("| 5%", "| 5%", "| 1%", "| 1%", "| 0%"),
    ]
    assert rows[2] == "| 100% |  | 450 | 0.250 | 0.941 | 0.250 | 0.250 | 0.250 | 12 | 20,000 |"
    assert rows[4].startswith("| 10% | coverage |") and "an abacus" in text
    some = everything()
    del some["coverage-10"], some["none"]
    assert curve.table(some).count("\n| ") == 8 and "buffer of 0%" not in curve.table(some)


@pytest.mark.parametrize("lost, said", [(0.02, "reached, 0.020"), (0.021, "missed, 0.021")])
def test_a_target_is_judged_by_the_better_pick(lost, said):
    text = curve.table(everything(random_01=0.8, coverage_01=0.95 - lost + 1e-9))
    assert f"{said} (picked by coverage, the better of 2)" in text
    assert "a buffer of 0%: at most 0.05 of retained accuracy lost: reached, 0.000." in text


def test_the_page_is_that_of_the_cells():
    if FOUND:
        current = curve.digests()
        assert not [name for name, cell in FOUND.items() if cell["sources"] != current.get(name)]
    text = curve.PAGE.read_text()
    assert curve.page(text, FOUND) == text, "make buffers"
    again = curve.page(text, everything())
    assert "| 100% |" in again and curve.page(again, FOUND) == text


def test_a_cell_is_measured_as_it_says(tmp_path):
    config = Config(
        data=f"npz:{save_patterns(tmp_path / 'patterns.npz')}",
        arch="conftest:conv_net",
        forget="class=c",
        train_epochs=30,
        seed=0,
    )
    bench = lay_out(config)
    for name, split in (("model", None), ("oracle", chosen_split(bench))):
        model = trained_on(bench, split, "train")
        (tmp_path / name).write_bytes(pack(Checkpoint(model.state_dict(), bench.facts)))
    given = {name: str(tmp_path / name) for name in ("model", "oracle")}
    measured = curve.Curve(replace(config, **given), looked_at=30)
    found = {name: measured.cell(name) for name in ("original", "retrained", "all", "none")}
    assert all({*cell["measured"]} == {*curve.SHOWN.values()} for cell in found.values())
    value = {n: {k: m["value"] for k, m in c["measured"].items()} for n, c in found.items()}
    assert value["original"]["forget_accuracy"] > 0.8 > 0.2 > value["retrained"]["forget_accuracy"]
    assert value["all"]["membership_auc"] != value["original"]["membership_auc"]
    assert found["all"]["images"] == 48 and found["none"]["images"] == 0
    assert found["all"]["measured"]["retain_accuracy"]["n"] == 30
    assert found["all"]["image_gradients"] > found["none"]["image_gradients"] > 24
    assert len(measured.shown("coverage-10")) == 5

"""The table of docs/models.md is that of its results, and every network went all the way."""

import importlib.util
import json
from pathlib import Path

import pytest

from unsee.errors import DivergenceError

pytest.importorskip("timm", reason="needs the extra timm")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("models_sweep", ROOT / "verify" / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_was_found(sweep):
    rows = json.loads(sweep.RESULTS.read_text())
    assert f"{sweep.MARKS[0]}\n{sweep.table(rows)}\n{sweep.MARKS[1]}" in sweep.PAGE.read_text()


def test_every_network_went_all_the_way_or_says_why_not(sweep):
    for name, row in json.loads(sweep.RESULTS.read_text()).items():
        steps = ("trains", "snu", "snu_deep", "control", "stored")
        if "error" in row:  # the one thing that may end it here, with the remedy
            assert "try a lower rate" in row["error"], name
            continue
        assert all(row[step] for step in steps), name
        assert row["explained"] or "nothing to explain" in row["why"], name


@pytest.mark.parametrize("arch", ["timm:test_vit", "timm:test_convnext"])
def test_a_family_goes_all_the_way_now(sweep, arch):
    before = json.loads(sweep.RESULTS.read_text())[arch]
    now = sweep.tried(arch)
    assert {**now, "seconds": 0} == {**before, "seconds": 0}


def test_what_diverges_is_tried_again_by_half_the_rate_which_the_row_says(sweep, monkeypatch):
    rates = []

    def tried_by(rate, arch):
        rates.append(rate)
        if rate > allowed:
            raise DivergenceError("not finite")
        return dict.fromkeys((*sweep.COLUMNS, "stored"), True)

    monkeypatch.setattr(sweep, "tried_by", tried_by)
    allowed = 0.01
    assert "rate" not in sweep.tried("x") and rates == [0.01]
    allowed = 0.005
    row = sweep.tried("x")
    assert row["rate"] == 0.005 and rates == [0.01, 0.01, 0.005]
    assert "| yes, at 0.005 | yes | yes |" in sweep.table({"x": row})
    allowed = 0.001
    with pytest.raises(DivergenceError):
        sweep.tried("x")

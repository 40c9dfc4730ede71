"""The table of docs/models.md is that of its results, and every network went all the way."""

import importlib.util
import json
from pathlib import Path

import pytest

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

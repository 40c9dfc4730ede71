"""``unsee oracles``, ``unsee policy``, and a run that is judged by both."""

import json
import tomllib

import pytest

from unsee import pipeline, training
from unsee.cli import call

PATTERNS = ("--arch", "conftest:conv_net", "--forget", "class=c", "--train-epochs", "2")


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: False)
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})


@pytest.fixture
def data(tmp_path):
    from conftest import save_patterns

    return ("--data", f"npz:{save_patterns(tmp_path / 'patterns.npz')}")


def test_a_fleet_and_a_run_beside_it(tmp_path, data, capsys):
    fleet, folder = str(tmp_path / "fleet"), tmp_path / "run"
    asked = (*data, *PATTERNS, "--models", "2", "--jobs", "1", "--out", fleet)
    assert call("oracles", *asked) == 0
    told = capsys.readouterr()
    assert "2 models of this fleet are there" in told.out and "oracles: done in" in told.err
    assert call("oracles", *asked, "--quiet") == 0  # they are there: nothing is trained
    assert "\x1b" not in capsys.readouterr().err
    judged = (*data, *PATTERNS, "--method", "noop", "--oracle", fleet, "--out", str(folder))
    assert call("run", *judged, "--quiet") == 0
    found = json.loads((folder / "audit.json").read_text())
    assert found["verdict"]["k"] == 2 and found["verdict"]["light"] == "red"
    assert len(found["references"]["test_accuracy"]) == 2
    assert capsys.readouterr().out.splitlines()[0].startswith("RED")


def test_oracles_need_a_folder_and_a_rule(data, capsys, tmp_path):
    assert call("oracles", *data, "--arch", "conftest:conv_net", "--out", str(tmp_path / "f")) == 2
    assert "Expected --forget" in capsys.readouterr().err
    assert call("oracles", *data, *PATTERNS) == 2
    assert "Expected --out" in capsys.readouterr().err
    assert call("oracles", *data, *PATTERNS, "--out", str(tmp_path / "f"), "--models", "0") == 2
    assert "1 model or more" in capsys.readouterr().err and not (tmp_path / "f").exists()


def test_the_policy_that_is_printed_can_be_changed_and_given_back(tmp_path, data, capsys):
    assert call("policy") == 0
    words = capsys.readouterr().out
    assert tomllib.loads(words)["green_needs"] == 8
    file = tmp_path / "ours.toml"
    file.write_text(words.replace('"unsee default"', '"ours"'))
    folder = tmp_path / "run"
    asked = (*data, *PATTERNS, "--method", "noop", "--out", str(folder), "--quiet")
    assert call("run", *asked, "--policy", str(file)) == 0
    assert json.loads((folder / "audit.json").read_text())["verdict"]["policy"]["name"] == "ours"
    capsys.readouterr()
    file.write_text("name = 1")
    assert call("run", *asked, "--policy", str(file), "--force") == 2
    assert "policy of version 1" in capsys.readouterr().err
    # A run belongs to the policy that it was begun with.
    file.write_text(words)
    assert call("run", "--resume", str(folder), "--quiet") == 2
    assert "digests" in capsys.readouterr().err

"""A method from a file outside the package, wherever a method has a name."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import rng

import unsee
from unsee import pipeline
from unsee.cli import call
from unsee.errors import OptionError, RunError
from unsee.fleets._members import unlearned_by
from unsee.methods import METHODS, find, own_digest, own_file
from unsee.nouns import Config

MINE = '''
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import unsee


@dataclass
class Share:
    of: float = FACTOR


@unsee.method(title="Shrink", paper="none", data="forget")
def shrink(model: nn.Module, forget, retain, *, rng, strength: float = 0.5) -> nn.Module:
    """Shrink the output layer."""
    with torch.no_grad():
        model[-1].weight.mul_(Share().of * strength)
    return model


def plain(model, forget, retain, *, rng):
    return model
'''

DECORATED = """
import unsee

@unsee.method(title="a", paper="b"{how})
def go(model, forget, retain, *, rng, {lr}):
    model.eval()
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine" / "my method.py"
    path.parent.mkdir()
    path.write_text(MINE.replace("FACTOR", "1.0"))
    return path


def test_a_file_s_method_is_used_as_one_of_the_package(mine, model, split):
    method = find(f"{mine}:shrink")
    assert method.name == "shrink" and method.options == {"strength": 0.5}
    after = method(model, split.forget, split.retain, rng=rng(), strength="0.25")
    assert torch.equal(after[-1].weight, model[-1].weight * 0.25)


def test_loading_leaves_no_trace_but_one_module(mine):
    paths, before = [*sys.path], {*sys.modules}
    assert find(f"{mine}:shrink") is find(f"{mine}:shrink")
    assert sys.path == paths and "shrink" not in METHODS
    assert len({*sys.modules} - before) == 1
    assert [x.name for x in mine.parent.iterdir()] == ["my method.py"]  # no __pycache__


def test_a_changed_file_is_another_method(mine):
    first, digest = find(f"{mine}:shrink"), own_digest(f"{mine}:shrink")
    mine.write_text(MINE.replace("FACTOR", "0.1"))
    assert find(f"{mine}:shrink") is not first
    assert own_digest(f"{mine}:shrink") != digest
    assert own_digest("snu") is None and own_file("snu") is None


@pytest.mark.parametrize(
    "text, name, told",
    [
        (MINE, "other", r"a method in .* among \['shrink'\], got 'other'"),
        (MINE, "plain", "got a function: decorate the function with @unsee.method"),
        ("import unsee\n\nx = (\n", "x", r"got SyntaxError in line 3"),
        ("import unsee\n1 / 0\n", "x", "got ZeroDivisionError in line 2: division by zero"),
        ("import nowhere_to_be_found", "x", "ModuleNotFoundError in line 1.*has to be installed"),
        ("x = 1", "y", "got 'y': decorate the function"),
        (DECORATED.format(how=', data="some"', lr="lr=1.0"), "go", r"data among .* got 'some'"),
        (DECORATED.format(how="", lr="lr: float"), "go", "a default for every option of 'go'"),
    ],
)
def test_an_error_says_where_it_is_and_what_to_do(tmp_path, text, name, told):
    path = tmp_path / "bad.py"
    path.write_text(text.replace("FACTOR", "1.0"))
    with pytest.raises(OptionError, match=told):
        find(f"{path}:{name}")


def test_a_method_that_returns_no_model_is_told_to(tmp_path, model, split):
    path = tmp_path / "none.py"
    path.write_text(DECORATED.format(how="", lr="lr=1.0"))
    with pytest.raises(OptionError, match="that 'go' makes, got NoneType.*`return model`"):
        unsee.unlearn(model, split.forget, split.retain, method=f"{path}:go", guard=1)


@pytest.mark.parametrize("method", [len, Path("mine.py")])
def test_what_is_neither_a_method_nor_a_name_is_told_to_be_decorated(method):
    with pytest.raises(OptionError, match="Expected a method or its name, got .*@unsee.method"):
        find(method)


def test_a_missing_file_and_a_forgotten_name_are_told_apart(tmp_path):
    with pytest.raises(OptionError, match="readable file.*path.py:name"):
        find(f"{tmp_path}/none.py:x")
    with pytest.raises(OptionError, match="among .* got .*mine.py.*: one of your own is named as"):
        find("mine.py")


def test_a_fleet_s_models_are_of_the_file_s_text(mine):
    config = Config(method=f"{mine}:shrink")
    before = unlearned_by(config)
    mine.write_text(MINE.replace("FACTOR", "0.1"))
    assert before.startswith("unlearned-shrink-") and unlearned_by(config) != before


def test_a_run_goes_on_only_with_the_text_that_it_was_begun_with(mine, config, tmp_path):
    own = replace(config, method=f"{mine}:shrink", oracle="none", train_epochs=1)
    done = pipeline.run(own, tmp_path / "run")
    assert done.method == f"{mine}:shrink" and done.options == {"strength": 0.5}
    assert pipeline.run(own, tmp_path / "run").to_json() == done.to_json()
    told = json.loads((tmp_path / "run" / "config.json").read_text())["digests"]["method"]
    assert told == own_digest(own.method)
    mine.write_text(MINE.replace("FACTOR", "0.1"))
    with pytest.raises(RunError, match="differs in .*digests"):
        pipeline.run(own, tmp_path / "run")


def test_the_command_line_takes_it_and_describes_it(mine, capsys):
    assert call("methods", f"{mine}:shrink") == 0
    assert "--set strength=0.5" in capsys.readouterr().out
    assert call("methods", f"{mine}:shrunk") == 2
    assert capsys.readouterr().err.startswith("unsee: Expected the name of a method")


def test_a_method_in_a_file_is_found_from_another_process(mine):
    code = "import sys; from unsee.methods import find; print(find(sys.argv[1]).title)"
    name = f"{mine.name}:shrink"
    done = subprocess.run(
        [sys.executable, "-c", code, name], cwd=mine.parent, capture_output=True, text=True
    )
    assert done.stdout == "Shrink\n", done.stderr

"""What a command imports, by Python's own log: nothing heavy where nothing is computed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import example

from unsee.cli import VERBS
from unsee.folder import pack_arrays
from unsee.ledger import Ledger

CERTIFICATE = str(Path(__file__).parent / "golden" / "certificates" / "v1-ledger.json")
TENSORS = {"torch", "torchvision", "timm", "sklearn"}
HEAVY = TENSORS | {
    *("numpy", "scipy", "matplotlib", "pyarrow", "rich", "PIL", "pandas", "joblib", "ray"),
    *("sqlalchemy", "alembic", "fastapi", "uvicorn", "cryptography", "jinja2"),
}


def imported(*arguments, code=0):
    """Return the packages that a command line imports, and how many modules."""
    command = [sys.executable, "-X", "importtime", "-m", "unsee", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == code, done.stderr[-500:]
    names = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)
    assert "unsee.cli" in names  # the log is there
    return {name.partition(".")[0] for name in names}, len(names)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_imports_nothing_heavy(verb):
    packages, _ = imported(verb, "--help")
    assert not packages & HEAVY


@pytest.mark.parametrize(
    "asked", [("request", "list", "--ledger", "ledger.sqlite"), ("verify", CERTIFICATE)]
)
def test_what_reads_a_ledger_or_a_certificate_draws_nothing(asked, tmp_path, monkeypatch):
    Ledger(str(tmp_path / "ledger.sqlite")).engine.dispose()
    monkeypatch.chdir(tmp_path)
    packages, _ = imported(*asked)
    assert not packages & (TENSORS | {"scipy", "matplotlib", "PIL", "jinja2", "pyarrow", "ray"})


@pytest.mark.parametrize("asked", [("--help",), ("--version",), ("policy",)])
def test_what_only_prints_imports_nothing_heavy(asked):
    packages, modules = imported(*asked)
    assert not packages & HEAVY - ({"numpy"} if "policy" in asked else set())
    assert modules < 600  # most are Python's own and typer's


@pytest.mark.parametrize(
    "asked",
    [("run", "--x"), ("train",), ("unlearn", "--model", "a"), ("audit", "--out", "b")],
    ids=["unknown flag", "no out", "no forget", "no models"],
)
def test_what_is_refused_by_its_flags_alone_loads_no_tensors(asked):
    packages, _ = imported(*asked, code=2)
    assert not packages & HEAVY


@pytest.mark.parametrize("asked", [(), ("snu_deep",), ("--json",)], ids=["all", "one", "JSON"])
def test_methods_are_listed_without_what_they_run_on(asked):
    packages, modules = imported("methods", *asked)
    assert not packages & HEAVY and modules < 600


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_what_reads_runs_loads_no_tensors(verb, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(example().to_json())
        (tmp_path / name / "arrays.npz").write_bytes(pack_arrays(example().arrays))
    runs = [str(tmp_path / name) for name in ("a", "b")]
    packages, _ = imported(verb, *(runs if verb == "compare" else runs[:1]))
    assert not packages & TENSORS and "numpy" in packages

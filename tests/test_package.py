"""The wheel: what is in it, and that it works outside the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built with what is installed here: no network, no second torch."""
    pytest.importorskip("build", reason="the wheel is built with pip install build hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "unsee").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == ours and "unsee/py.typed" in inside
    assert {".jinja", ".css"} <= {Path(name).suffix for name in inside}
    assert wheel.name.startswith(f"unsee-{PROJECT['version']}-")


def test_the_wheel_runs_outside_the_checkout(wheel, tmp_path):
    place = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", str(place), str(wheel)], check=True)
    (tmp_path / "mynet.py").write_text((ROOT / "tests" / "tinynet.py").read_text())
    asked = ("--forget", "class=3", "--arch", "mynet:build", "--train-epochs", "1")
    code = "import unsee, sys; sys.stderr.write(unsee.__file__); from unsee.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", *asked, "--quiet", "--out", "run"],
        env=os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == str(place / "unsee" / "__init__.py"), done.stderr
    assert "test_accuracy" in done.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_the_version_is_told_in_one_place_and_said_everywhere(capsys):
    from unsee.cli import call

    assert call("--version") == 0
    assert capsys.readouterr().out == f"unsee {PROJECT['version']}\n"
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)[0] == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert "10.1007/978-3-031-77389-1_8" in citation
    assert "MIT License" in (ROOT / "LICENSE").read_text()

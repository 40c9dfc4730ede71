"""The pages on benchmarks and on methods of one's own say what is so."""

import re
import tomllib
from pathlib import Path

import pytest

from unsee import benchmark, pipeline, testing
from unsee.benchmark import running
from unsee.benchmark._cell import key_of
from unsee.benchmark._results import cells_in, words_of
from unsee.cli import call
from unsee.methods import METHODS

ROOT = Path(__file__).parent.parent
GRIDS = sorted((ROOT / "benchmarks").glob("*.toml"))
PAGE = ROOT / "docs" / "benchmarks.md"
OWN = (ROOT / "docs" / "your-own-method.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", OWN, re.DOTALL)


@pytest.fixture
def relabel(tmp_path, monkeypatch):
    """The page's method as the file that it says it is, in the folder where commands are given."""
    (text,) = (block for block in blocks("python") if block.startswith("# relabel.py"))
    (tmp_path / "relabel.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "relabel.py"


def test_the_method_of_the_page_keeps_every_promise(relabel):
    (check,) = (block for block in blocks("python") if "check_method" in block)
    exec(check, {})
    with pytest.raises(testing.PromiseError):
        testing.check_method("relabel.py:relabel", changes=False)


def test_the_commands_of_the_page_run(relabel, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})
    describe, run = blocks("sh")[0].splitlines()
    assert call(*describe.split()[1:]) == 0
    told = capsys.readouterr().out
    assert "Other labels" in told and "--set lr=0.005" in told
    (tmp_path / "runs").mkdir()
    assert call(*run.split()[1:], "--quiet") == 0
    assert (tmp_path / "runs" / "relabel" / "report.html").exists()
    assert call("methods", "relabel.py:other") == 2


def test_the_grid_of_the_page_is_one(relabel, tmp_path):
    (text,) = blocks("toml")
    (tmp_path / "mine.toml").write_text(text)
    cells = running.read_grid(tmp_path / "mine.toml").cells()
    own = [cell for cell in cells if cell.method == "relabel"]
    assert len(cells) == 12 and own[0].config.options == {"epochs": 2} and own[0].budget == 5000
    assert blocks("sh")[1].startswith("unsee bench run mine.toml\n")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_of_the_repository_can_be_read_and_has_its_place_on_the_page(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    grid = running.read_grid(path)
    assert len(grid.cells()) >= 6 and grid.shared["guard"] == 1.0
    text = PAGE.read_text()
    assert f"`benchmarks/{path.name}`" in text
    results = Path("benchmarks", "results", path.stem)
    if cells_in(results):
        records, asked = benchmark.read_results(results), benchmark.read_asked(results)
        block = benchmark.page_block(results, Path("docs/benchmarks.md"), records, asked)
        assert benchmark.into_page(PAGE, path.stem, block) == text, "unsee bench table --page"
    else:
        assert benchmark.into_page(PAGE, path.stem, "Not measured yet.") == text


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_committed_cells_were_made_by_the_committed_sources(path):
    results = ROOT / "benchmarks" / "results" / path.stem
    cells = running.read_grid(path).cells() if results.is_dir() else []
    for cell in cells:
        if not _files_are_there(cell):
            pytest.skip(f"the files of {cell.name} are not there, and keys have their digests")
    found = [(cell, benchmark.read_record(results / f"{cell.name}.json")) for cell in cells]
    stale = [cell.name for cell, record in found if record and record["key"] != key_of(cell)]
    assert not stale, f"unsee bench run benchmarks/{path.name}: the sources have changed since"
    if asked := benchmark.read_asked(results):
        now = [words_of(cell) | {"settings": cell.settings} for cell in cells]
        assert [*asked.cells] == now, (
            f"unsee bench run benchmarks/{path.name}: the grid has changed"
        )


def _files_are_there(cell):
    named = (cell.config.model, cell.config.oracle, cell.config.data.partition(":")[2])
    return all(Path(x).exists() for x in named if x and x not in ("none", "retrain"))


def test_the_large_grid_asks_for_all_that_the_small_one_does():
    names = ("digits-quick", "digits")
    small, large = (tomllib.loads((ROOT / f"benchmarks/{n}.toml").read_text()) for n in names)
    assert small["config"] == large["config"] and {*small["forget"]} <= {*large["forget"]}
    cells = running.read_grid(ROOT / "benchmarks" / "digits.toml").cells()
    assert {cell.method for cell in cells} == {*METHODS} and len(cells) == len(METHODS) * 4 * 5


def test_class_3_of_cifar_is_never_tuned_on():
    for stem in ("cifar10", "cifar10-best"):
        cells = running.read_grid(ROOT / "benchmarks" / f"{stem}.toml").cells()
        assert {cell.tune_on for cell in cells if cell.tune} == {"class=0"}
        assert {cell.config.tune for cell in cells} == {0}
        assert {cell.budget for cell in cells} == {None, 100_000}

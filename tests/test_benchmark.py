"""Grids: what they ask for, cells that are measured once, failures that stop nobody, recipes."""

import json
import random
import shlex
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import save_patterns

from unsee import benchmark, events, fleets, machine, pipeline, training
from unsee.benchmark import _cell, checking, running
from unsee.benchmark._budget import allowance, length_of, spent
from unsee.benchmark._cell import key_of, tuned_name
from unsee.benchmark._grid import Cell
from unsee.benchmark._held import held_by_module, held_by_source
from unsee.benchmark._models import needed
from unsee.benchmark._results import write_record
from unsee.benchmark._sources import built_from, code, digest_of_sources
from unsee.benchmark._turns import at_most, threads
from unsee.cli import call
from unsee.data import load
from unsee.errors import OptionError, PromiseError, RunError
from unsee.methods import METHODS, find
from unsee.nouns import Config
from unsee.preparation import prepare
from unsee.training import counting

GRID = """
title = "Patterns"
forget = ["class=c"]
methods = ["noop", "snu", "finetune"]
seeds = [0, 1]
budget = 150

[data]
patterns = "npz:{place}/patterns.npz"

[config]
arch = "conftest:conv_net"
train_epochs = 4
guard = 1.0

[options.finetune]
epochs = 9
"""
OWN = '''
import torch
import unsee


@unsee.method(title="Shrink", paper="none", data="forget")
def shrink(model, forget, retain, *, rng, strength: float = FACTOR):
    """Shrink the output layer."""
    with torch.no_grad():
        model[-1].weight.mul_(strength)
    return model
'''


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch):
    monkeypatch.setattr(training, "has_fast_bf16", lambda device: False)
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the patterns, a grid, its results and its models: measured once."""
    folder = tmp_path_factory.mktemp("bench")
    save_patterns(folder / "patterns.npz")
    (folder / "tiny.toml").write_text(GRID.format(place=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)
        patch.setattr(pipeline, "pictures_of", lambda run: None)
        patch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
        patch.setattr(pipeline, "figures", lambda run, drawn: {})
        grid = running.read_grid(folder / "tiny.toml")
        done = running.bench(grid, folder / "results" / "tiny", folder / "work" / "tiny", jobs=1)
    assert (done.measured, done.there, done.failed, done.left) == (6, 0, (), 0)
    return folder


@pytest.fixture
def grid(place):
    return running.read_grid(place / "tiny.toml")


def written(tmp_path, text, name="g.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def again(grid, place, tmp_path, **more):
    """Measure with the models that are there, into other results."""
    with events.noted():  # of what failed
        return running.bench(grid, tmp_path / "results", place / "work" / "tiny", jobs=1, **more)


# What a grid says.


def test_another_retraining_is_as_long_as_the_reference(grid):
    def of(**more):
        return replace(grid, methods=("retrain",), **more).cells()[0].config.options

    assert of() == {"epochs": 4} and of(options={"retrain": {"epochs": 9}}) == {"epochs": 9}


def test_a_grid_is_data_by_rules_by_methods_by_seeds(tmp_path):
    text = GRID.replace('["class=c"]', '["class=c", "random=10%"]').format(place="x")
    text += '\n[rule."random=10%"]\nseeds = 1\nretain_fraction = 0.5\nmean = [0.5]\n'
    cells = running.read_grid(written(tmp_path, text)).cells()
    assert len(cells) == 3 * 2 + 3 * 1 and len({cell.name for cell in cells}) == 9
    drawn = [cell for cell in cells if cell.config.forget == "random=10%"]
    assert {(c.config.seed, c.config.retain_fraction, c.config.mean) for c in drawn} == {
        (0, 0.5, (0.5,))
    }
    assert {cell.config.oracle for cell in cells} == {"retrain"}
    assert [cell.budget for cell in cells[:6]] == [None, None, 150, 150, 150, 150]
    assert cells[4].config.options == {"epochs": 9}
    assert cells[0].name == "patterns-class=c-noop-seed0"


def test_all_methods_and_sources_without_a_name(tmp_path):
    text = (
        'data = ["digits", "parquet:a/cifar10", "mnist:../raw", "mislabel:digits"]\n'
        'forget = ["class=3"]\nmethods = "all"\nseeds = 1'
    )
    grid = running.read_grid(written(tmp_path, text))
    assert {"snu_deep", "retrain", "noop"} <= {*grid.methods}
    assert [*grid.sources] == ["digits", "cifar10", "mnist", "mislabel_digits"]
    assert grid.sources["cifar10"] == "parquet:a/cifar10"


@pytest.mark.parametrize(
    "change, told",
    [
        (("title", "titel"), r"keys of the grid .* among .*got \['titel'\]"),
        (("arch =", "archs ="), r"fields of a run in \[config\].*got \['archs'\]"),
        (("[options.finetune]", "[options.scrub]"), r"methods of \[options\].*got \['scrub'\]"),
        (("seeds = [0, 1]", "seeds = []"), "Expected seeds in the grid"),
        (("seeds = [0, 1]", "seeds = [-1]"), "seeds as a number or a list"),
        (("seeds = [0, 1]", "seeds = [0, 0]"), "every cell once.*named after its data"),
        (("budget = 150", "budget = -1"), "Expected budget as a whole number of 0 or more.*got -1"),
        (("budget = 150", "budget = 1e5"), "Expected budget as a whole number"),
        (("budget = 150", "budget = true"), "Expected budget as a whole number"),
        (("budget = 150", 'tune_on = "class=a"'), "Expected tune = N"),
        (('forget = ["class=c"]', 'forget = "class=c"'), "Expected forget as a list of texts"),
        (('forget = ["class=c"]', "forget = [3]"), "Expected forget as a list of texts"),
        (("seeds = [0, 1]", "seeds = 2.5"), "Expected seeds as a number or a list"),
        (("epochs = 9", "epochs = 9\n[rule]\nx = 3"), "Expected rule as a table of tables"),
        (("epochs = 9", '[rule."class=c"]\nseeds = 0'), r"Expected seeds as .* in \[rule"),
        (("guard = 1.0", 'guard = "high"'), r"guard in \[config\].* as a number, got 'high'"),
        (("guard = 1.0", "guard = 2.0"), "Expected --guard in 0..1, got 2"),
        (("train_epochs = 4", "train_epochs = 4.5"), "train_epochs in .* as a whole number"),
        (("guard = 1.0", "mean = 0.5"), "mean in .* as a list, each a number, got 0.5"),
        (("budget = 150", "budget ="), "Expected a grid in TOML"),
        (('"snu",', '"scurb",'), "Expected a method among"),
        (("epochs = 9", "rounds = 9"), "options of 'finetune' among"),
        (("[config]", '[rule."class=a"]\n[config]'), r"rules of \[rule\]"),
        (("train_epochs", "seed"), r"fields of a run in \[config\]"),
    ],
    ids=lambda x: x[1] if isinstance(x, tuple) else "",
)
def test_what_a_grid_cannot_mean_is_refused(tmp_path, change, told):
    path = written(tmp_path, GRID.format(place="x").replace(*change))
    with pytest.raises(OptionError, match=told):
        running.read_grid(path)
    with pytest.raises(OptionError, match="Expected a grid in TOML"):
        running.read_grid(tmp_path / "none.toml")


def test_two_sources_of_one_name_are_refused_until_they_are_named(tmp_path):
    text = 'data = ["npz:a/data.npz", "npz:b/data.npz"]\nforget = ["class=3"]\nmethods = ["noop"]\n'
    with pytest.raises(OptionError, match=r"different names in data .* \[data\] with lines NAME"):
        running.read_grid(written(tmp_path, f"{text}seeds = 1\n"))
    named = text.split("\n", 1)[1] + 'seeds = 1\n[data]\na = "npz:a/data.npz"\nb = "npz:b/data.npz"'
    assert [*running.read_grid(written(tmp_path, named)).sources] == ["a", "b"]


# A budget.


def test_epochs_are_cut_to_what_the_budget_lasts_for(place, grid):
    job = prepare(replace(grid.cells()[4].config, oracle="none"))
    once = spent(job, {"epochs": 1})
    assert once == 48  # the retain images, once
    allowed = allowance(job, 150)
    assert allowed.options == {"epochs": 3} and allowed.expected == pytest.approx(3 * once)
    assert allowance(job, 10**6).options == {"epochs": 9}  # no more than was asked for
    with pytest.raises(OptionError, match="within 47 image gradients, got 48 for 1 of its epochs"):
        allowance(job, 47)
    idle = prepare(replace(grid.cells()[0].config, oracle="none"))
    assert length_of(idle.method) is None and allowance(idle, 1).options == {}


@pytest.mark.parametrize("method", ["snu", "snu_deep", "finetune", "gradient_ascent"])
def test_a_stand_in_spends_what_the_real_network_does(place, grid, method):
    config = replace(grid.cells()[0].config, oracle="none", method=method)
    job = prepare(config)
    with counting() as count:
        pipeline.unlearn(
            job.new(), job.split.forget, job.split.retain, method=method, guard=1, epochs=2
        )
    assert spent(job, {"epochs": 2}) == pytest.approx(sum(count), rel=0.02)


# Cells.


def test_every_cell_keeps_what_the_tables_need(place):
    for record in benchmark.read_results(place / "results" / "tiny"):
        assert record["models"].keys() == {"original", "unlearned", "retrained"}
        assert len(record["apart"]) == record["counts"]["forget"] == 24
        js = record["models"]["unlearned"]["js_distance"]
        assert sum(record["apart"]) / 24 == pytest.approx(js["value"], abs=1e-3)
        assert record["reference"]["retrain"]["image_gradients"] == 4 * 48
        assert record["reference"]["train"]["image_gradients"] == 4 * 72
        assert record["environment"]["torch"] and len(record["key"]) == 64
        if record["cell"]["method"] == "finetune":
            assert record["options"]["epochs"] == 3 and record["retain_share"] == 1.0
            assert record["image_gradients"] == record["budget"]["expected"] == 144
        if record["cell"]["method"] == "noop":
            assert record["budget"] is None and record["retain_share"] == 0.0


def test_models_are_trained_once_and_shared_by_all_methods(place):
    made = sorted(path.name.partition("-")[0] for path in (place / "work/tiny/models").iterdir())
    assert made == ["original", "original", "retrained", "retrained"]
    assert not [*(place / "work" / "tiny" / "runs").iterdir()]  # nothing is left of the runs


def test_what_is_there_is_not_measured_again(place, grid, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a run was started")

    monkeypatch.setattr("unsee.benchmark._cell.run", never)
    done = running.bench(grid, place / "results" / "tiny", place / "work" / "tiny", jobs=1)
    assert (done.there, done.measured) == (6, 0)


def test_a_stopped_grid_goes_on_with_what_is_missing(place, grid, tmp_path):
    for path in (place / "results" / "tiny").glob("*.json"):
        if "finetune-seed1" not in path.name:
            (tmp_path / "results").mkdir(exist_ok=True)
            (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    done = again(grid, place, tmp_path)
    assert (done.there, done.measured, done.left) == (5, 1, 0)
    name = "patterns-class=c-finetune-seed1.json"
    old, new = (
        json.loads((folder / name).read_text())
        for folder in (place / "results" / "tiny", tmp_path / "results")
    )
    assert old["models"] == new["models"] and old["apart"] == new["apart"]


def test_two_processes_measure_every_cell_once(place, grid, tmp_path, monkeypatch):
    runs, real = [], _cell.run

    def counted(config, folder, **more):
        runs.append(folder.name)
        return real(config, folder, **more)

    monkeypatch.setattr(_cell, "run", counted)
    few = replace(grid, methods=("noop", "snu"))
    with ThreadPoolExecutor(2) as pool:  # locks are of open files: of threads as of processes
        both = [pool.submit(again, few, place, tmp_path) for _ in range(2)]
        done = [each.result() for each in both]
    assert sorted(name.rpartition("-")[0] for name in runs) == sorted(x.name for x in few.cells())
    assert all(each.left == 0 and each.failed == () for each in done)


def test_what_another_process_is_at_is_left_for_the_end(place, grid, tmp_path, monkeypatch):
    few = replace(grid, methods=("noop", "snu"), seeds=(0,))
    begun, seen, real = threading.Event(), [], _cell.run

    def watched(config, folder, **more):
        seen.append((threading.current_thread().name, config.method))
        begun.set()
        if config.method == "noop":  # the first: held until the other one has been measured
            deadline = time.monotonic() + 60
            while len(seen) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
        return real(config, folder, **more)

    monkeypatch.setattr(_cell, "run", watched)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(again, few, place, tmp_path)
        assert begun.wait(60)
        second = pool.submit(again, few, place, tmp_path)
        assert first.result().left == second.result().left == 0
    assert [method for _, method in seen] == ["noop", "snu"]
    assert seen[0][0] != seen[1][0]  # each by one of the two, at the same time


def test_a_cell_that_failed_is_tried_again_from_other_folders_too(
    place, grid, tmp_path, monkeypatch
):
    few, real = replace(grid, methods=("noop",), seeds=(0,)), _cell.run

    def stopped(config, folder, **more):
        real(config, folder, **more)
        raise RuntimeError("the machine went away")

    work = shutil.copytree(place / "work" / "tiny", tmp_path / "work")
    with events.noted(), monkeypatch.context() as patch:
        patch.setattr(_cell, "run", stopped)
        done = running.bench(few, tmp_path / "results", work, jobs=1)
        assert "the machine went away" in done.failed[0]
    other = tmp_path / "work" / ".." / "work"  # the same, spelled otherwise
    done = running.bench(few, tmp_path / "results", other, jobs=1, again=True)
    assert done.failed == ()


def test_all_of_a_grid_compute_with_as_many_threads(place, grid, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 6)
    seen, real = [], running.measure_once

    def watched(task):
        seen.append(task.threads)
        return real(task)

    monkeypatch.setattr(running, "measure_once", watched)
    one = replace(grid, methods=("noop",), seeds=(0,))
    with threads(4):
        running.bench(one, tmp_path / "results", place / "work" / "tiny", jobs=2)
        running.bench(one, tmp_path / "more", place / "work" / "tiny", jobs=1)
    assert seen == [3, 4]  # not 6, though nothing else is left to do; nor more than there are
    places = {needed(one.cells()[0], tmp_path, threads)[0].place for threads in (1, 2)}
    assert len(places) == 2  # sums of another number of threads round otherwise
    before = torch.get_num_threads()
    with at_most(1):
        assert torch.get_num_threads() == 1
    with at_most(10**6):
        assert torch.get_num_threads() == before


def test_a_failure_is_written_down_and_the_others_go_on(place, grid, tmp_path, monkeypatch):
    hurt = replace(
        grid,
        methods=("noop", "snu"),
        seeds=(0,),
        options={"snu": {"lr": 1e38, "epochs": 4}},
        budget=None,
    )
    done = again(hurt, place, tmp_path)
    assert done.measured == 2 and len(done.failed) == 1
    assert "snu-seed0: DivergenceError: Expected finite" in done.failed[0]
    assert again(hurt, place, tmp_path).measured == 0  # it would fail again
    assert again(hurt, place, tmp_path, again=True).measured == 1
    text = benchmark.as_text(benchmark.read_results(tmp_path / "results"))
    assert "snu failed in 1 of 1: DivergenceError" in text.replace("\n  ", " ")


def test_a_rule_that_cannot_be_fails_its_own_cells_alone(place, grid, tmp_path):
    odd = replace(grid, rules=("class=c", "class=z"), methods=("noop",), seeds=(0,))
    done = again(odd, place, tmp_path)
    assert done.measured == 2
    assert len(done.failed) == 1 and "class=z-noop-seed0: SplitError" in done.failed[0]


def test_only_what_is_asked_for_is_measured(place, grid, tmp_path):
    done = again(grid, place, tmp_path, only=["noop-seed0"])
    assert (done.measured, done.left) == (1, 5)
    with pytest.raises(OptionError, match="parts of names such as"):
        again(grid, place, tmp_path, only=["scurb"])


def test_no_cell_of_a_tuned_grid_audits_what_tuning_looked_at(place, grid, tmp_path, monkeypatch):
    text = GRID.format(place=place).replace("budget = 150", 'tune = 1\ntune_on = "class=a"')
    with pytest.raises(OptionError, match=r'as validation = "ids=FILE" in \[config\]'):
        running.read_grid(written(tmp_path, text))
    data = load(f"npz:{place / 'patterns.npz'}")
    ids = data.ids[data.parts == "test"][::2]
    file = written(tmp_path, "\n".join(ids.tolist()), "validation.txt")
    text = text.replace("[config]", f'[config]\nvalidation = "ids={file}"')
    tuned = replace(running.read_grid(written(tmp_path, text)), methods=("noop", "snu"), seeds=(0,))
    audited = []

    def searched(job, model, facts):
        assert {*job.split.validation.ids} == {*ids}
        audited.append({*job.split.test.ids})
        facts["tuning"] = {"trials": [{"options": {}}], "chosen": 0}

    def run(config, folder, **_):
        audited.append({*prepare(config).split.test.ids})
        raise RunError("Expected nothing more")

    monkeypatch.setattr("unsee.benchmark._cell.unlearned", searched)
    monkeypatch.setattr("unsee.benchmark._cell.run", run)
    again(tuned, place, tmp_path)
    assert len(audited) == 3 and not any({*ids} & seen for seen in audited)


def test_a_cell_whose_search_failed_fails_again_when_it_is_checked(place, grid, tmp_path):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=1, tune_on="class=z")
    (failed,) = again(tuned, place, tmp_path).failed
    assert "no setting was found on class=z" in failed
    (cell,) = tuned.cells()
    found = checking.check(cell, tmp_path / "results", place / "work" / "tiny")
    assert found.inside and found.same_code and all("class=z" in why for why in found.failed)


def test_a_tuned_cell_that_failed_is_checked_with_what_its_search_found(place, grid, tmp_path):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=1, tune_on="class=a", budget=None)
    (cell,) = tuned.cells()
    results = tmp_path / "results"
    found = {"format": 1, "tuned": "snu", "on": "class=a", "key": key_of(cell.search)}
    found |= {"failed": None, "options": {"lr": 1e38, "epochs": 4}, "trials": []}
    write_record(results, tuned_name(cell.search), found)
    (failed,) = again(tuned, place, tmp_path).failed
    assert "DivergenceError" in failed
    done = checking.check(cell, results, place / "work" / "tiny")
    assert done.inside and "DivergenceError" in done.failed[1]


def test_options_are_tuned_on_one_rule_and_used_on_all(place, grid, tmp_path):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=2, tune_on="class=a")
    assert again(tuned, place, tmp_path).failed == ()
    (kept,) = (tmp_path / "results").glob("tuned-*.json")
    record = json.loads(kept.read_text())
    assert record["on"] == "class=a" and len(record["trials"]) == 2
    assert record["options"].keys() == {"lr"}  # how long is the budget's
    cell = benchmark.read_record(tmp_path / "results" / "patterns-class=c-snu-seed0.json")
    assert cell["options"]["lr"] == record["options"]["lr"]
    assert (
        f"--set lr={record['options']['lr']}" in cell["recipe"] and "--tune" not in cell["recipe"]
    )
    assert cell["counts"]["validation"] == 0  # nothing is held back where nothing is tuned
    assert cell["tuned"]["on"] == "class=a"
    alone = replace(grid, rules=("class=c", "class=b"), methods=("snu",), tune=2)
    alone = replace(alone, tune_on="class=a", rule={"class=c": {"retain_fraction": 0.5}})
    found = {cell.search.settings for cell in alone.cells()}  # whichever cell comes first
    assert len(found) == 1 and {x.search.config.retain_fraction for x in alone.cells()} == {0.1}
    idle = replace(grid, tune=2, tune_on="class=a").cells()[0]
    assert idle.method == "noop" and idle.tune == 0  # there is nothing to tune


def test_the_key_covers_settings_files_and_code(tmp_path, grid, place):
    cell = grid.cells()[2]
    keys = {key_of(cell), key_of(replace(cell, budget=1))}
    keys |= {key_of(replace(cell, config=replace(cell.config, seed=7)))}
    keys |= {key_of(grid.cells()[4])}
    file = tmp_path / "own.py"
    for factor in ("0.5", "0.25"):
        file.write_text(OWN.replace("FACTOR", factor))
        keys.add(key_of(replace(cell, config=replace(cell.config, method=f"{file}:shrink"))))
    assert len(keys) == 6
    moved = replace(cell, config=replace(cell.config, data="npz:/elsewhere/patterns.npz"))
    assert key_of(moved) == key_of(cell)
    found = set()
    for name, ids in (("a", "x"), ("b", "x"), ("c", "y")):  # by what it holds, not where
        earlier = (f"ids={written(tmp_path, ids, f'{name}.txt')}", "class=a")
        found.add(key_of(replace(cell, config=replace(cell.config, earlier=earlier))))
    assert len(found) == 2


def test_the_key_covers_what_the_images_are_wherever_they_lie(tmp_path, grid, place, monkeypatch):
    def at(path):
        return replace(grid, sources={"patterns": f"npz:{path}"}).cells()[0]

    same, other = tmp_path / "same.npz", tmp_path / "other.npz"
    shutil.copy(place / "patterns.npz", same)
    other.write_bytes(same.read_bytes() + b"more")
    cells = [grid.cells()[0], at(same), at(other), at(tmp_path / "none.npz")]
    assert key_of(cells[0]) == key_of(cells[1])
    assert len({key_of(cell) for cell in cells}) == 3
    models = [needed(cell, tmp_path)[0].place for cell in cells]
    assert models[0] == models[1] and len({*models}) == 3
    folder = tmp_path / "pictures"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.png").write_bytes(b"1")
    before = held_by_source(f"mislabel:folder:{folder}")
    (folder / ".hidden").write_bytes(b"x")
    assert held_by_source(f"mislabel:folder:{folder}") == before
    spoiled = {before, held_by_source(f"backdoor:folder:{folder}")}
    assert len(spoiled | {held_by_source(f"folder:{folder}")}) == 3
    (folder / "train" / "a.png").rename(folder / "train" / "b.png")
    assert held_by_source(f"mislabel:folder:{folder}") != before
    assert held_by_source("digits") is None is not held_by_source("mislabel:digits")
    monkeypatch.chdir(tmp_path)
    found = set()
    for text in ("net = 1", "net = 2"):
        (tmp_path / "mynets.py").write_text(text)
        found.add(held_by_module("mynets:net"))
    assert len(found) == 2 and held_by_module("resnet18:cifar") is None is held_by_module("convnet")


def test_the_digest_of_the_code_is_of_the_method_and_of_what_it_isbuilt_from():
    digests = {digest_of_sources(name) for name in ("snu", "snu_deep", "finetune")}
    assert len(digests) == 3
    assert {"_silence.py", "_discriminant.py"} <= built_from("_snu_deep.py")
    assert code('def f():\n    """Say."""\n    return 1  # why\n') == code(
        "def f():\n    ''\n    return 1"
    )
    assert code("x = 1") != code("x = 2")


def test_the_digest_is_of_the_code_that_runs_and_not_of_what_was_edited_since(monkeypatch):
    before = {name: digest_of_sources(name) for name in METHODS}
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: pytest.fail("read after its import"))
    assert {name: digest_of_sources(name) for name in METHODS} == before


# A method of one's own.


def test_a_method_of_one_s_own_is_a_row_like_any_other(place, grid, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(running, "check_method", checked.append)
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("FACTOR", "0.5"))
    name = f"{file}:shrink"
    own = replace(grid, methods=(name,), seeds=(0,), options={name: {"strength": 0.25}})
    assert again(own, place, tmp_path).failed == ()
    record = benchmark.read_record(tmp_path / "results" / "patterns-class=c-shrink-seed0.json")
    assert checked == [name] and record["shown"] == "forget"
    assert f"--method {name} --set strength=0.25" in record["recipe"]
    assert again(own, place, tmp_path).measured == 0
    file.write_text(OWN.replace("FACTOR", "0.75"))
    assert again(own, place, tmp_path).measured == 1


def test_one_that_breaks_a_promise_is_refused_before_anything_is_trained(grid, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("FACTOR", "1.0"))
    own = replace(grid, methods=(f"{file}:shrink",))
    with pytest.raises(PromiseError, match="'shrink' changes weights .*no weight has changed"):
        running.bench(own, tmp_path / "results", tmp_path / "work", jobs=1)
    assert not (tmp_path / "work").exists() and not (tmp_path / "results").exists()


# What a reader can do with it.


def test_a_recipe_is_the_line_that_gives_the_same_numbers(place, tmp_path, monkeypatch):
    record = benchmark.read_record(
        place / "results" / "tiny" / "patterns-class=c-finetune-seed1.json"
    )
    unsee, *words = shlex.split(record["recipe"])
    assert unsee == "unsee" and "--model" not in words
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert call(*words, "--quiet") == 0
    found = json.loads((tmp_path / words[-1] / "audit.json").read_text())
    for model, figures in record["models"].items():
        for name, kept in figures.items():
            now = found["models"][model][name]
            assert (now and now["value"]) == (kept and pytest.approx(kept["value"], abs=1e-6)), name
    assert found["image_gradients"]["unlearn"] == record["image_gradients"]


def test_a_recipe_holds_every_flag_that_differs():
    config = Config(
        data="npz:a b.npz",
        forget="class=3",
        options={"lr": 0.5, "deep": True},
        mean=(0.5, 0.25),
        earlier=("class=1", "class=2"),
        audits=("accuracy", "distance"),
        include_twins=True,
        train_epochs=3,
    )
    line = benchmark.recipe(config, "runs/x")
    assert line == (
        "unsee run --data 'npz:a b.npz' --mean 0.5,0.25 --forget class=3 --include-twins "
        "--method snu_deep --set lr=0.5 --set deep=true --earlier class=1 --earlier class=2 "
        "--train-epochs 3 --audits accuracy,distance --out runs/x"
    )


def test_a_cell_that_comes_out_the_same_is_inside(place, capsys):
    names = [str(place / "tiny.toml"), "--work", str(place / "work")]
    assert call("bench", "check", *names, "--seed", "4", "--quiet") == 0
    told = capsys.readouterr().out.splitlines()
    cells = sorted(cell.name for cell in running.read_grid(place / "tiny.toml").cells())
    assert told[0].startswith("drawn with --seed 4, tolerance 0.02")
    assert told[1] == f"{random.Random(4).choice(cells)}: inside"
    assert len(told) > 20 and "outside" not in "".join(told)


def test_a_cell_is_checked_with_as_many_threads_as_it_had(place, grid, tmp_path, monkeypatch):
    shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    cell = grid.cells()[0]
    path = tmp_path / "results" / f"{cell.name}.json"
    record = json.loads(path.read_text())
    record["environment"]["threads"] = "3"
    path.write_text(json.dumps(record))
    before, seen, measure = torch.get_num_threads(), [], checking.measure

    def watched(task):
        seen.append(torch.get_num_threads())
        return measure(task)

    monkeypatch.setattr(checking, "measure", watched)
    assert checking.check(cell, tmp_path / "results", place / "work" / "tiny").inside
    assert seen == [3] and torch.get_num_threads() == before != 3


def test_a_cell_is_checked_with_the_instructions_that_it_had(place, grid, tmp_path):
    results = shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    (cell,) = (cell for cell in grid.cells() if cell.name == "patterns-class=c-noop-seed0")
    path = results / f"{cell.name}.json"
    record = json.loads(path.read_text())
    ours = machine.instructions()
    assert record["environment"]["instructions"] == ours
    if ours not in machine.SETS or ours == machine.PORTABLE:
        pytest.skip("no processor of x86 with more than AVX2")

    def done_with(used, work):
        record["environment"]["instructions"] = used
        path.write_text(json.dumps(record))
        return checking.check(cell, results, work)

    narrow = done_with(machine.PORTABLE, tmp_path)
    assert narrow.other == () and narrow.failed == (None, None)
    shared = place / "work" / "tiny"
    names = [{x.name for x in (work / "models").iterdir()} for work in (tmp_path, shared)]
    assert len(names[0]) == 2 and not names[0] & names[1]
    wide = done_with(ours, shared)
    assert wide.other == () and wide.inside
    missing = done_with("AVX10_9", shared)  # nobody has it
    assert missing.other == (("instructions", "AVX10_9", ours),)
    assert missing.figures == wide.figures


def test_a_search_that_failed_is_tried_again_where_that_is_asked(
    place, grid, tmp_path, monkeypatch
):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=1, tune_on="class=a")
    real = running.search_once

    def fails(task):
        record = _cell.search(task) | {"failed": "MemoryError: once"}
        write_record(Path(task.results), tuned_name(task.cell), record)
        return record

    monkeypatch.setattr(running, "search_once", fails)
    (failed,) = again(tuned, place, tmp_path).failed
    assert "MemoryError: once" in failed
    monkeypatch.setattr(running, "search_once", real)
    assert again(tuned, place, tmp_path).failed == (failed,)
    assert again(tuned, place, tmp_path, again=True).failed == ()


def test_results_of_no_cell_are_named(place, grid, tmp_path, capsys):
    shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    fewer = written(tmp_path, GRID.replace('"snu", ', "").format(place=place))
    words = ("--results", str(tmp_path / "results"), "--work", str(place / "work"), "--quiet")
    assert call("bench", "run", str(fewer), *words) == 0
    told = capsys.readouterr().out
    assert "2 results" in told and "delete them, such as patterns-class=c-snu-seed0" in told


def test_cells_of_two_arithmetics_are_told(place, tmp_path, capsys):
    results = shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    words = [str(place / "tiny.toml"), "--results", str(results), "--work", str(place / "work")]
    assert call("bench", "run", *words, "--quiet") == 0
    assert "computed with" not in capsys.readouterr().out
    path = results / "patterns-class=c-noop-seed0.json"
    record = json.loads(path.read_text())
    record["environment"]["instructions"] = "AVX1"
    path.write_text(json.dumps(record))
    assert call("bench", "run", *words, "--quiet") == 0
    assert f"computed with AVX1 and {machine.instructions()}: figures" in capsys.readouterr().out


def made_by_other_code(cell, results, code="0" * 64, name=""):
    """Rewrite a result as code of another digest would have made it; return its file."""
    path = results / f"{name or cell.name}.json"
    record = json.loads(path.read_text())
    record |= {"sources": code, "key": key_of(cell, code)}
    path.write_text(json.dumps(record))
    return path


def test_cells_of_which_one_comes_out_alike_stand_for_other_code(place, grid, tmp_path, capsys):
    results = shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    cells = [cell for cell in grid.cells() if cell.method in ("noop", "snu")]
    paths = [made_by_other_code(cell, results) for cell in cells]
    asked_otherwise = paths[0]  # by another grid: no code makes it stand
    before = json.loads(asked_otherwise.read_text()) | {"key": "1" * 64}
    asked_otherwise.write_text(json.dumps(before))
    untouched = {x: x.read_bytes() for x in results.iterdir() if x not in paths[1:]}
    names = [str(place / "tiny.toml"), "--work", str(place / "work"), "--results", str(results)]
    assert call("bench", "check", *names, "--accept", "--quiet", "--seed", "1") == 0
    told = capsys.readouterr().out
    assert "snu, whole classes, by code 00000000: 2 cells stand" in told and "outside" not in told
    for cell, path in zip(cells[1:], paths[1:], strict=True):
        record = json.loads(path.read_text())
        assert record["key"] == key_of(cell)
        assert record["sources"] == digest_of_sources(cell.config.method)
        (stands,) = record["stands"]
        assert stands["sources"] == "0" * 64 and stands["furthest"] == 0
        assert stands["tolerance"] == 0.02
        assert f"-{cell.method}-" in stands["checked"]
    assert {x: x.read_bytes() for x in untouched} == untouched
    assert call("bench", "check", *names, "--accept", "--quiet") == 0
    assert capsys.readouterr().out == "no cell was made by other code\n"


def test_cells_of_which_one_comes_out_otherwise_do_not_stand(place, grid, tmp_path, capsys):
    results = shutil.copytree(place / "results" / "tiny", tmp_path / "results")
    cells = [cell for cell in grid.cells() if cell.method == "noop"]
    paths = [made_by_other_code(cell, results) for cell in cells]
    for path in paths:
        record = json.loads(path.read_text())
        record["models"]["unlearned"]["retain_accuracy"]["value"] -= 0.1
        path.write_text(json.dumps(record))
    kept = [path.read_bytes() for path in paths]
    names = [str(place / "tiny.toml"), "--work", str(place / "work"), "--results", str(results)]
    assert call("bench", "check", *names, "--accept", "--quiet") == 3
    assert "unlearned/retain_accuracy" in capsys.readouterr().out
    assert [path.read_bytes() for path in paths] == kept
    done = checking.check(cells[0], results, place / "work" / "tiny")
    assert not done.inside and done.furthest == pytest.approx(0.1)
    with pytest.raises(RunError, match="came out alike"):
        checking.stand(cells, results, tmp_path, done)
    empty = checking.Checked("x", (), True, True, (None, None))
    assert not empty.inside and replace(empty, failed=("E: no", "E: no")).inside
    assert not replace(empty, failed=("E: no", "E: another")).inside
    record = json.loads((place / "results" / "tiny" / paths[0].name).read_text())
    assert not replace(done, figures=(), same_options=False).inside  # a default has changed
    paths[0].write_text(json.dumps(record | {"options": {"lr": 7}}))
    assert not checking.check(cells[0], results, place / "work" / "tiny").same_options
    assert call("bench", "check", *names, "--accept", "--only", "no such cell", "--quiet") == 2
    names[-1] = str(tmp_path / "no such folder")
    assert call("bench", "check", *names, "--accept", "--quiet") == 2


def test_cells_of_different_codes_do_not_stand_for_each_other(place, grid, tmp_path):
    results = Path(shutil.copytree(place / "results" / "tiny", tmp_path / "results"))
    first, second = (cell for cell in grid.cells() if cell.method == "snu")
    made_by_other_code(first, results)
    made_by_other_code(second, results, "1" * 64)
    groups = checking.changed(grid, results)
    assert sorted(len(cells) for cells in groups.values()) == [1, 1]
    for cell, why in ((first, "SplitError: no"), (second, "MemoryError: once")):
        path = made_by_other_code(cell, results)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"failed": why}))
    assert len(checking.changed(grid, results)) == 2  # nor those that failed otherwise


def test_a_search_stands_only_where_it_finds_the_same_again(place, grid, tmp_path, monkeypatch):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=2, tune_on="class=a")
    assert again(tuned, place, tmp_path).failed == ()
    (cell,) = tuned.cells()
    results, work = tmp_path / "results", place / "work" / "tiny"
    made_by_other_code(cell, results)
    made_by_other_code(cell.search, results, name=tuned_name(cell.search))
    real = checking.search
    monkeypatch.setattr(checking, "search", lambda task: real(task) | {"options": {"lr": 1e-9}})
    done = checking.check(cell, results, work, anew=True)
    assert not done.inside and not done.same_options
    assert checking.check(cell, results, work).inside  # with the options that were kept
    monkeypatch.setattr(checking, "search", real)
    checking.stand([cell], results, work, checking.check(cell, results, work, anew=True))
    kept = json.loads((results / f"{tuned_name(cell.search)}.json").read_text())
    assert kept["stands"] and kept["key"] == key_of(cell.search)


def test_a_budget_is_of_the_options_that_were_found(place, grid, tmp_path, monkeypatch):
    tuned = replace(grid, methods=("snu",), seeds=(0,), tune=1, tune_on="class=a")
    real, seen = _cell.allowance, []

    def watched(job, budget):
        seen.append(job.options)
        return real(job, budget)

    monkeypatch.setattr(_cell, "allowance", watched)
    assert again(tuned, place, tmp_path).failed == ()
    found = json.loads(next((tmp_path / "results").glob("tuned-*.json")).read_text())
    assert len(seen) == 2 and seen[1].items() >= found["options"].items()


def test_the_share_of_what_stays_is_that_of_a_buffer(place, grid, tmp_path, monkeypatch):
    real = _cell.run
    buffer = {"share": 0.5, "images": 24}
    monkeypatch.setattr(_cell, "run", lambda *a, **more: replace(real(*a, **more), buffer=buffer))
    again(replace(grid, methods=("snu", "finetune", "noop"), seeds=(0,)), place, tmp_path)
    found = benchmark.read_results(tmp_path / "results")
    shares = {record["cell"]["method"]: record["retain_share"] for record in found}
    assert shares == {"snu": 0.5, "finetune": 1.0, "noop": 0.0}  # others are not shown the buffer


def test_what_the_code_of_before_gave_on_this_machine_is_compared_instead(
    place, grid, tmp_path, capsys
):
    results, there = (
        Path(shutil.copytree(place / "results" / "tiny", tmp_path / name)) for name in ("a", "b")
    )
    cells = [cell for cell in grid.cells() if cell.method == "noop"]
    for folder in (results, there):
        paths = [made_by_other_code(cell, folder) for cell in cells]
        if folder == results:  # as another machine would have rounded it, far off
            for path in paths:
                record = json.loads(path.read_text())
                record["models"]["unlearned"]["retain_accuracy"]["value"] -= 0.1
                path.write_text(json.dumps(record))
    names = [str(place / "tiny.toml"), "--work", str(place / "work"), "--results", str(results)]
    asked = ["bench", "check", *names, "--accept", "--quiet"]
    assert call(*asked, "--against", str(place / "results" / "tiny")) == 2  # by which code?
    assert "got none" in capsys.readouterr().err
    assert call(*asked, "--against", str(there)) == 0
    record = json.loads((results / f"{cells[0].name}.json").read_text())
    assert record["key"] == key_of(cells[0]) and record["stands"]


def test_a_figure_that_is_another_ends_with_three(place, grid, tmp_path, capsys):
    source = place / "results" / "tiny" / "patterns-class=c-noop-seed0.json"
    record = json.loads(source.read_text())
    record["models"]["unlearned"]["retain_accuracy"]["value"] -= 0.1
    (tmp_path / source.name).write_text(json.dumps(record))
    names = [str(place / "tiny.toml"), "--work", str(place / "work"), "--results", str(tmp_path)]
    assert call("bench", "check", *names, "--quiet") == 3
    told = capsys.readouterr()
    (line,) = [x for x in told.out.splitlines()[2:] if x.endswith("outside")]
    assert line.startswith("unlearned/retain_accuracy") and "outside the tolerance" in told.err
    record["models"]["unlearned"]["retain_accuracy"]["value"] += 0.1
    record["models"]["unlearned"]["retain_accuracy"]["low"] -= 0.1
    (tmp_path / source.name).write_text(json.dumps(record))
    assert (
        call("bench", "check", *names, "--quiet") == 3
    )  # an interval is a figure of the table, too
    assert "unlearned/retain_accuracy (low)" in capsys.readouterr().out
    assert checking.Compared("x", 0.5, 0.6, 0.2).inside
    assert not checking.Compared("x", None, 0.6, 0.2).inside
    with pytest.raises(RunError, match="got none: unsee bench run"):
        checking.drawn(grid.cells(), tmp_path / "empty", 0)


def test_the_command_line_measures_and_says_what_failed(place, tmp_path, capsys):
    asked = [str(place / "tiny.toml"), "--work", str(place / "work"), "--results", f"{tmp_path}/r"]
    assert call("bench", "run", *asked, "--only", "noop-seed0", "--jobs", "1") == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == (
        "cells: 1 measured, 0 there before, 0 failed; 5 not there, or of other settings or code"
    )
    assert "cells: done in" in told.err and "unlearn: done" not in told.err
    assert call("bench", "run", str(tmp_path / "none.toml")) == 2


def test_references_are_those_of_a_fleet(place, grid):
    """A shared reference is the model that ``unsee oracles`` trains from the same seed."""
    (first,) = {
        path
        for path in (place / "work" / "tiny" / "models").glob("retrained-*")
        if (path / "oracle-0001.safetensors").exists()
    }
    fleet = place / "fleet"
    config = replace(grid.cells()[0].config, oracle="none")
    fleets.oracles(config, fleet, models=1, first_seed=1, jobs=1)
    name = "oracle-0001.safetensors"
    assert (fleet / name).read_bytes() == (first / name).read_bytes()


def test_a_name_is_fit_for_a_file():
    cell = Cell("data", Config(forget="path=a/b*|c", method="x y.py:mine", seed=3))
    assert cell.name == "data-path=a_b__c-mine-seed3" and find("snu").name == "snu"


def test_a_method_for_whole_classes_is_not_asked_on_another_rule_and_has_not_failed(
    place, grid, tmp_path, capsys
):
    mixed = replace(grid, rules=("random=10%",), methods=("head_only", "noop"), seeds=(0,))
    done = again(mixed, place, tmp_path)
    assert done.failed == () and done.unsuited == 1 and done.measured == 2
    found = benchmark.read_results(tmp_path / "results")
    told = "for whole classes alone, and not asked:"
    assert f"* {told} `head_only`" in benchmark.as_markdown(found).splitlines()
    assert f"{told} head_only" in benchmark.as_text(found)
    assert f'head_only,control,0,0,0,"{told[:-1]}"' in benchmark.as_csv(found)
    assert "2 cells, of which 0 failed and 1 were not asked" in benchmark.page_block(
        tmp_path / "results", tmp_path / "page.md", found
    )
    assert all("head_only" not in x.file() for x in benchmark.pareto(found).values())

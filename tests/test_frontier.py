"""The frontier's evidence: measured as the audits measure, and judged by the numbers alone."""

import copy
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import pattern_data, save_patterns

from unsee.auditing import Inquiry
from unsee.audits import AUDITS, observe
from unsee.draws import generator
from unsee.errors import DamageError
from unsee.nouns import Config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402  (the folder is not a package: its scripts are run by hand)
import frontier  # noqa: E402
import frontier_page  # noqa: E402

FOUND = cells.read_all(frontier.RESULTS)
NAMES = (*frontier_page.SHOWN, *(f"membership_auc/{x}" for x in frontier_page.ATTACKS[1:]))
RETRAINED = {
    "forget_accuracy": 0.0,
    "retain_accuracy": 0.93,
    "test_accuracy": 0.89,
    "probe_recall": 0.5,
    "few_shot_recall": 0.3,
    "relearn_recall": 0.0,
    "relearn_recall_restored": 0.1,
    "js_distance": 0.1,
}
ORIGINAL = {
    "forget_accuracy": 0.8,
    "probe_recall": 0.7,
    "few_shot_recall": 0.7,
    "relearn_recall": 0.7,
    "relearn_recall_restored": 0.7,
    "js_distance": 0.6,
}


def made_up(model, values, **facts):
    """A cell as the script writes it, whose redraws swing around its values."""
    auc = 0.56 if model == "original" else 0.5
    each = {name: auc for name in NAMES if name.startswith("membership")} | values
    swing = [0.0, *np.linspace(-0.01, 0.01, 40).tolist()]
    return {
        "sources": "made up",
        "task": "cifar10-class3",
        "model": model,
        "n": {"forget": 5000, "retain": 45000, "test": 9000},
        "unseen": 1000,
        "values": {name: [value + x for x in swing] for name, value in each.items()},
        "environment": {"device": "an abacus", "threads": "1", "precision": "float32"},
        **facts,
    }


def unlearned(seed, values=None, kind="", **facts):
    cost = {
        "seconds": 40.0,
        "image_gradients": 20000.0,
        "buffer": 4500,
        "stopped": None,
        "retraining": {"images": 45000, "timed": [{"images": 4500, "seconds": 9.0}]},
    }
    return made_up(f"{kind}seed{seed}", RETRAINED | (values or {}), **(cost | facts))


def cifar(**changes):
    """Everything that class 3 needs; ``changes`` are values of every seed."""
    models = [
        made_up("original", RETRAINED | ORIGINAL),
        made_up("retrained0", RETRAINED),
        made_up("retrained1", RETRAINED),
        *(unlearned(seed, changes) for seed in range(3)),
    ]
    return {f"cifar10-class3-{cell['model']}": cell for cell in models}


def rows(found):
    judged = frontier_page.all_of_a_class(frontier_page.models_of(found, "cifar10-class3"))
    return {row.name: row for row in judged}


def tiny(path, **facts):
    data = save_patterns(path / "patterns.npz", pattern_data(240))
    arch = "conftest:conv_net"
    config = Config(data=f"npz:{data}", arch=arch, forget="class=c", train_epochs=4)
    return frontier.Task(replace(config, **facts), trained=2, buffers=(0.5, 0.1))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(frontier, "MODELS", tmp_path / "models")
    monkeypatch.setattr(frontier, "TASKS", {"patterns-class2": tiny(tmp_path)})
    frontier.bench_of.cache_clear()
    yield frontier.bench_of("patterns-class2")
    frontier.bench_of.cache_clear()


def test_a_cell_says_what_the_audits_say(bench):
    cell = frontier.make("patterns-class2-retrained1")
    names = ("accuracy", "membership", "probe", "few_shot", "relearning", "distance")
    inquiry = Inquiry(bench.split, audits={name: AUDITS[name] for name in names})
    views = {
        name: observe(name, bench.model(model), bench.split, partial(generator, 0))
        for name, model in (
            ("original", "original"),
            ("unlearned", "retrained1"),
            ("retrained", "retrained0"),
        )
    }
    numbers, _ = inquiry.answers(views["unlearned"], views["original"], views["retrained"])
    auditors = {f"membership_auc/{x}": f"membership_auc/{x}" for x in frontier_page.ATTACKS[1:-1]}
    auditors |= {name: name for name in RETRAINED} | {"membership_auc/loss": "membership_auc"}
    for ours, theirs in auditors.items():
        assert cell["values"][ours][0] == pytest.approx(numbers[theirs].value, abs=1e-6), ours
    assert {len(x) for x in cell["values"].values()} == {1 + frontier.DRAWS}
    assert cell["values"].keys() == {*NAMES}
    json.dumps(cell, allow_nan=False)


def test_a_model_is_trained_once_and_read_again(bench, monkeypatch):
    first = bench.model("retrained0")
    monkeypatch.setattr(frontier, "trained", None)
    again = bench.model("retrained0")
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_unlearning_is_timed_beside_retraining(bench):
    cell = frontier.make("patterns-class2-seed0")
    assert cell["seconds"] > 0 and cell["image_gradients"] > 0 and cell["buffer"] == 60
    assert [x["images"] for x in cell["retraining"]["timed"]] == [120, 120]
    assert 0 < frontier_page.share_of_retraining(cell)
    smaller = frontier.make("patterns-class2-buffer10-seed0")
    assert smaller["buffer"] == 12 and smaller["retraining"]["timed"] == []


def test_what_the_guard_refuses_is_measured_and_said(bench, monkeypatch):
    real, asked = frontier.unlearned, []

    def guarded(job, original, *, seed):
        asked.append(job.config.guard)
        if job.config.guard < 1:
            raise DamageError("Expected less damage")
        return real(job, original, seed=seed)

    monkeypatch.setattr(frontier, "unlearned", guarded)
    cell = frontier.make("patterns-class2-buffer10-seed0")
    assert cell["stopped"] == "Expected less damage" and asked == [0.1, 1.0]


def test_single_images_are_measured_without_the_questions_of_a_class(tmp_path, monkeypatch):
    monkeypatch.setattr(frontier, "MODELS", tmp_path)
    bench = frontier.Bench("patterns-random", tiny(tmp_path, forget="random=20%"))
    cell = frontier.cell(bench, "retrained0")
    assert cell["values"].keys() == {x for x in NAMES if "recall" not in x}


def test_a_redraw_is_the_same_for_all_models():
    a = {"x": ("forget", torch.arange(50.0)), "y": ("forget", torch.arange(50.0) + 1)}
    found = frontier.redrawn(a, {}, draws=20)
    assert np.allclose(np.subtract(found["y"], found["x"]), 1)
    assert found["x"][0] == 24.5 and np.std(found["x"][1:]) > 1
    b = {"x": ("forget", torch.arange(50.0)), "z": ("retain", torch.arange(9.0))}
    assert frontier.redrawn(b, {}, draws=20)["x"] == found["x"]


def test_retrained_models_meet_everything():
    found = rows(cifar())
    assert all(row.met and not row.open for row in found.values())
    assert len(found) == 12
    change = found["test accuracy, minus retrained"]  # redraws are paired
    assert "| 0.0000 (0.0000 to 0.0000) |" in change.line()


@pytest.mark.parametrize(
    "change, name",
    [
        ({"forget_accuracy": 0.006}, "forget accuracy"),
        ({"retain_accuracy": 0.927}, "retain accuracy, minus the original's"),
        ({"test_accuracy": 0.884}, "test accuracy, minus retrained"),
        ({"probe_recall": 0.551}, "probe recall, way back from retrained to original"),
        ({"few_shot_recall": 0.41}, "few-shot recall, way back from retrained to original"),
        ({"relearn_recall": 0.06}, "relearned, above retrained"),
        (
            {"relearn_recall_restored": 0.26},
            "relearned with the original output layer, way back",
        ),
        ({"js_distance": 0.131}, "JS distance, over that between two retrained"),
    ],
)
def test_each_criterion_can_be_missed_alone(change, name):
    missed = [row.name for row in rows(cifar(**change)).values() if not row.met]
    assert missed == [name]
    assert f"Missed: {name}." in frontier_page.page(cifar(**change))


def test_membership_is_judged_on_both_sides_and_on_its_worst_attack():
    found = rows(cifar(**{"membership_auc/margin": 0.45}))
    assert found["AUC, distance to retrained, mean of the attacks"].met  # 0.05 / 6
    assert not found["the same, worst attack (margin)"].met
    each = {name: 0.487 for name in NAMES if name.startswith("membership")}
    found = rows(cifar(**each))
    assert not found["AUC, distance to retrained, mean of the attacks"].met


def test_costs_are_judged_by_the_worst_seed():
    found = cifar()
    found["cifar10-class3-seed1"] |= {"seconds": 46.0, "image_gradients": 22001.0}
    missed = [row.name for row in rows(found).values() if not row.met]
    assert missed == [
        "image gradients, most of any seed",
        "time over ten epochs of retraining, most of any seed",
    ]


def test_an_audit_that_tells_nothing_apart_is_not_judged():
    found = cifar(probe_recall=0.9)
    found["cifar10-class3-original"]["values"]["probe_recall"] = found["cifar10-class3-retrained0"][
        "values"
    ]["probe_recall"]
    row = rows(found)["probe recall, way back from retrained to original"]
    assert "less than 0.05" in row.open and "not judged" in row.line()


def test_against_one_retrained_model_depth_is_not_judged_and_accuracy_is():
    found = cifar()
    del found["cifar10-class3-retrained1"]
    judged = {name for name, row in rows(found).items() if not row.open}
    assert judged == {
        "forget accuracy",
        "retain accuracy, minus the original's",
        "test accuracy, minus retrained",
        "image gradients, most of any seed",
        "time over ten epochs of retraining, most of any seed",
    }


def test_seeds_are_averaged_and_so_are_the_retrained_models():
    found = cifar()
    for seed, value in enumerate((0.0, 0.0, 0.03)):
        found[f"cifar10-class3-seed{seed}"]["values"]["forget_accuracy"][0] = value
    assert rows(found)["forget accuracy"].figure[0] == pytest.approx(0.01)
    found["cifar10-class3-retrained1"]["values"]["test_accuracy"][0] = 0.87
    assert rows(found)["test accuracy, minus retrained"].figure[0] == pytest.approx(0.01)


def test_arbitrary_images_are_held_to_the_retrained_model():
    found = {
        name: copy.deepcopy(cell) | {"task": "cifar10-random10"} for name, cell in cifar().items()
    }

    def missed():
        models = frontier_page.models_of(found, "cifar10-random10")
        judged = frontier_page.some_images(models)
        return [row.name for row in judged if not row.met and not row.open]

    assert missed() == []
    for seed in range(3):
        found[f"cifar10-class3-seed{seed}"]["values"]["forget_accuracy"][0] = 0.04
    assert missed() == ["forget accuracy, distance to retrained", "tug of war, mean of the seeds"]


def test_what_lies_beyond_is_said():
    found = cifar()
    for kind, retain in (("buffer01-", 0.92), ("buffer00-", 0.87)):
        cell = unlearned(0, {"retain_accuracy": retain}, kind)
        found[f"cifar10-class3-{cell['model']}"] = cell
    text = frontier_page.page(found)
    assert "1 % buffer: retain accuracy, minus the original's: -0.0100" in text
    assert text.count(" asked: not reached") == 2  # no buffer, and 1/40 of the time
    assert "### With a 1 % buffer" in text and "| buffer00-seed0 |" in text
    assert "Not measured." in text


def test_eight_retrained_models_have_a_spread():
    found = cifar(probe_recall=0.54)
    for n in range(8):
        cell = made_up(f"retrained{n}", RETRAINED | {"probe_recall": 0.5 + n / 200})
        found[f"cifar10-class3-retrained{n}"] = cell
    text = frontier_page.page(found)
    assert "| probe_recall | 0.500 | 0.535 | 0.540, 0.540, 0.540 | 0.540 | **no** |" in text
    assert f"inside in {len(NAMES) - 1} of {len(NAMES)}: not reached" in text


def test_each_seed_is_judged_alone_and_the_faster_retraining_counts():
    found = cifar()
    found["cifar10-class3-seed1"] = unlearned(1, {"forget_accuracy": 0.009})
    assert "12 of 12 judged criteria met.** Of each seed alone: 12, 11, 12." in frontier_page.page(
        found
    )
    timed = [{"images": 4500, "seconds": 90.0}, {"images": 4500, "seconds": 9.0}]
    busy = unlearned(1, retraining={"images": 45000, "timed": timed})
    assert frontier_page.share_of_retraining(busy) == frontier_page.share_of_retraining(
        unlearned(1)
    )


def test_the_guard_is_quoted():
    found = cifar()
    found["cifar10-class3-seed2"]["stopped"] = "too much damage"
    assert "stopped seed2, which was measured all the same: too much" in frontier_page.page(found)


@pytest.mark.parametrize("power, word", [(0.0, "met"), (0.5, "**missed**")])
def test_the_exponent_is_that_of_the_seconds(power, word):
    seconds = {str(n): [3 * n**power, 2 * n**power] for n in frontier.LENGTHS}
    cell = {"seconds": seconds, "arch": "convnet", "forget": 1000, "buffer": 5000}
    assert frontier_page.exponents(cell) == pytest.approx([power, power])
    assert frontier_page.flatness(cell)[-1].endswith(f"asked: {word}.")


def test_unlearning_is_timed_beside_ever_more_images(bench, monkeypatch):
    monkeypatch.setattr(frontier, "ROUNDS", 2)
    model = bench.model("original")
    cell = frontier.timed(bench.job, model, lengths=(30, 60, 120), goes=20, stays=30)
    assert {n: len(x) for n, x in cell["seconds"].items()} == {"30": 2, "60": 2, "120": 2}
    assert len(frontier_page.exponents(cell)) == 2


def test_a_cell_that_is_up_to_date_is_left_alone(tmp_path):
    made = []

    def make(name):
        made.append(name)
        return {"value": 1 / 3}

    cells.measure(tmp_path, {"a-1": "x", "a-2": "x", "b": "x"}, make, ["a"])
    cells.measure(tmp_path, {"a-1": "x", "a-2": "y", "b": "x"}, make)
    assert made == ["a-1", "a-2", "a-2", "b"]
    with pytest.raises(SystemExit, match="got \\['c'\\]"):
        cells.measure(tmp_path, {"a-1": "x"}, make, ["c"])
    found = cells.read_all(tmp_path)
    assert found["a-2"] == {"sources": "y", "value": 0.333333} and {*found} == {"a-1", "a-2", "b"}


def test_the_script_measures_what_is_asked_for_and_writes_the_page(bench, tmp_path, monkeypatch):
    title = {"patterns-class2": "Patterns"}
    monkeypatch.setattr(frontier_page, "TITLES", title)
    monkeypatch.setattr(frontier_page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(frontier, "RESULTS", tmp_path / "cells")
    names = ["patterns-class2-original", "patterns-class2-retrained", "patterns-class2-seed"]
    monkeypatch.setattr(sys, "argv", ["frontier.py", *names])
    frontier.main()
    found = cells.read_all(tmp_path / "cells")
    assert len(found) == 6 and not [name for name in found if "buffer" in name]
    text = (tmp_path / "page.md").read_text()
    assert text == frontier_page.page(found) and "judged criteria met" in text
    monkeypatch.setattr(frontier, "make", None)  # all is up to date
    frontier.main()
    assert (tmp_path / "page.md").read_text() == text


def test_every_task_has_a_title():
    assert {*frontier.TASKS} == {*frontier_page.TITLES}


def test_committed_cells_were_made_by_the_committed_sources():
    current = frontier.digests()
    stale = [name for name, cell in FOUND.items() if cell["sources"] != current.get(name)]
    assert not stale, f"python verify/frontier.py: the sources have changed since {stale}"


def test_the_page_shows_the_committed_cells():
    if not FOUND and not frontier_page.PAGE.exists():
        pytest.skip("no cell is committed yet")
    assert frontier_page.PAGE.read_text() == frontier_page.page(FOUND)

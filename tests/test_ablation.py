"""The ablation: grid, cells and page agree, and its workbench is what became snu_deep."""

import copy
import inspect
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import block, pattern_data, rng, seeded
from torch import nn

from unsee.data import batches
from unsee.methods import METHODS
from unsee.models import normalise

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import ablation  # noqa: E402  (the folder is not a package: make ablation runs its scripts)
import ablation_page  # noqa: E402
import cells  # noqa: E402
from workbench import Average, workbench  # noqa: E402

FOUND = cells.read_all(ablation.RESULTS)
GRID = ablation.GRID["cells"]
SWITCHES = {
    name
    for name, p in inspect.signature(workbench).parameters.items()
    if p.kind is p.KEYWORD_ONLY and name not in ("rng", "gone")
}


def test_every_cell_of_the_grid_was_measured_with_its_setting():
    assert {name: cell["setting"] for name, cell in FOUND.items()} == ablation.settings()
    assert ablation.digests() == {name: FOUND[name]["sources"] for name in ablation.settings()}
    old = [cell for cell in FOUND.values() if cell["sources"] == "first form"]
    assert all("its seconds are no measurement" in cell["measured_by"] for cell in old)


def test_the_grid_names_options_that_there_are():
    used = set()
    for name, cell in GRID.items():
        assert cell["why"] and cell["group"] in ablation.GRID["groups"], name
        known = SWITCHES
        if cell["method"] == "snu_deep":
            known = {*METHODS["snu_deep"].options, *cell.get("removed", "").split()}
        else:
            used |= cell["options"].keys()
        assert cell["options"].keys() <= known, f"{name}: mark it with removed = OPTION"
    assert used == SWITCHES, "a switch that no cell uses"
    assert {cell["group"] for cell in GRID.values()} == ablation.GRID["groups"].keys()


def test_the_page_is_that_of_the_cells():
    text = ablation.PAGE.read_text()
    assert ablation_page.page(text, ablation.GRID, FOUND) == text, "make ablation"


def test_what_is_no_option_any_more_is_not_measured_again():
    gone = [name for name, cell in GRID.items() if "removed" in cell]
    assert gone and not {*gone} & ablation.digests(again=True).keys()
    with pytest.raises(SystemExit, match="no option any more"):
        ablation.Bench().cell(gone[0])


def test_the_given_models_are_judged_as_the_goals_mean_it():
    for looked in ablation.GRID["looked"]:
        again = ablation_page.judged(FOUND, f"retrained-{looked}")
        assert again == [*ablation_page.GOALS]
        before = ablation_page.judged(FOUND, f"original-{looked}")
        assert "retain" in before and not {"probe", "few-shot", "restored", "AUC worst"} & {*before}


def small_resnet():
    parts = {
        "conv1": nn.Conv2d(1, 6, 3, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(6),
        **{f"layer{n}": block(6, 6) for n in range(1, 5)},
        "avgpool": nn.AdaptiveAvgPool2d(2),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(24, 3),
    }
    return nn.Sequential(OrderedDict(parts))


@pytest.fixture(scope="module")
def bench():
    """A net with a ResNet's names that knows nothing, 40 images to forget and 80 to keep."""
    net = seeded(small_resnet)
    model = normalise(net, torch.tensor([0.5]), torch.tensor([0.25])).eval()
    data = replace(pattern_data(160), augment=("flip",)).part("train")
    own = (data.labels == 2).numpy()
    return model, data[own.nonzero()[0]], data[(~own).nonzero()[0]]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def unlearned(bench, **switches):
    model, forget, retain = bench
    told = {"batch": 10, "kept": 2, "lr": 1e-2} | switches
    return weights(workbench(copy.deepcopy(model), forget, retain, rng=rng(), gone=(2,), **told))


def test_the_workbench_is_snu_deep_where_both_do_the_same(bench, monkeypatch):
    """Without noise and discriminant, which start from other images and another spread.

    The two draw in another order, so each set of images gets a generator of its own here.
    """
    model, forget, retain = bench

    def drawn(data, *, rng, **more):
        return batches(data, rng=torch.Generator().manual_seed(len(data)), **more)

    for module in ("workbench", "unsee.methods._snu_deep"):
        monkeypatch.setattr(sys.modules[module], "batches", drawn)
    monkeypatch.setattr(sys.modules["unsee.methods._snu_deep"], "FEWEST_STEPS", 1)  # one pass
    options = {"temperature": 0.7, "weight": 0.0, "kd": 0.5, "kept": 11, "batch": 3, "lr": 1e-2}
    theirs = METHODS["snu_deep"].run(
        copy.deepcopy(model),
        forget,
        retain,
        rng=rng(),
        gone=(2,),
        unseen=None,
        sigma=0.0,
        adversary=0.0,
        frozen=0.0,
        depth=0.0,
        **options | {"weight": 0.3},
    )
    ours = unlearned(
        bench,
        **options | {"lr": 1e-2 * (3 / 32) ** 0.5},
        original_head=0.3,
        online=True,
        feature_sigma=1e-45,  # takes the path with noise, and adds nothing
    )
    assert same(ours, weights(theirs)) and not same(ours, weights(model))


def test_every_switch_changes_what_comes_out(bench):
    plain = unlearned(bench)
    assert same(plain, unlearned(bench))
    changes = {
        "lr": 2e-2,
        "batch": 20,
        "kept": 3,
        "temperature": 0.5,
        "weight": 0.5,
        "original_head": 0.5,
        "kd": 0.5,
        "adversary": 1e-6,
        "match": 1e-6,
        "anchor": 1.0,
        "freeze": 3,
        "sigma": 0.25,
        "feature_sigma": 0.5,
        "mix": 0.5,
        "share": 0.5,
        "averaged": 0.5,
    }
    assert changes.keys() | {"online"} == SWITCHES
    assert not [x for x, value in changes.items() if same(plain, unlearned(bench, **{x: value}))]
    assert not same(unlearned(bench, kd=0.5), unlearned(bench, kd=0.5, online=True))
    frozen, before = unlearned(bench, freeze=3), weights(bench[0])
    early = [name for name in frozen if name.startswith(("conv1", "bn1", "layer1", "layer2"))]
    assert all(torch.equal(frozen[name], before[name]) for name in early)


def test_an_average_is_the_mean_of_what_was_added():
    net, average = nn.Linear(1, 1, bias=False), Average()
    for value in (1.0, 2.0, 6.0):
        net.weight.data.fill_(value)
        average.add(net)
    average.into(net)
    assert net.weight.item() == 3.0


def test_a_cell_is_measured_as_it_says(monkeypatch):
    bench, net = (
        ablation.Bench(),
        normalise(seeded(small_resnet), torch.tensor([0.5]), torch.tensor([0.25])),
    )
    monkeypatch.setattr(ablation.Bench, "data", pattern_data(240))
    monkeypatch.setattr(ablation.Bench, "given", lambda self, name: net.eval())
    for name in ("retrained-half", "d01-adv.003"):
        cell = bench.cell(name)
        assert cell["measured"].keys() - {"relearn_recall"} == FOUND[name]["measured"].keys()
        assert cell["setting"] == FOUND[name]["setting"]
        attacks = (x["measured"]["membership_auc"].keys() for x in (cell, FOUND[name]))
        assert next(attacks) == next(attacks)
        assert ("seconds" in cell) == ("seconds" in FOUND[name])
    assert cell["image_gradients"] > 60  # one pass over the class

"""How ``snu_deep`` was found: every setting of the search, on CIFAR-10 (JPEG), class 0.

``python verify/ablation.py`` measures the cells of ``ablation.toml`` that are not there and writes
the table of ``docs/methods/ablation.md``; ``python verify/ablation.py d0 e01`` only the cells whose
names begin so, and ``--page`` none.  A cell is a record of its setting: it stays when the package
moves on, and ``--again`` measures it with the sources of today.
"""

import argparse
import copy
import sys
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any

import ablation_page
import cells
import numpy as np
import provenance
import torch
import workbench
from main_job import CIFAR, GIVEN, ROOT, SHARED
from torch import Tensor, nn

from unsee import data as sources
from unsee.accounting import environment, measured
from unsee.audits._relearning import FORGET, RETAIN, TESTED, _curve, _Lesson
from unsee.data import as_floats
from unsee.draws import generator
from unsee.folder import write
from unsee.functional import (
    auc,
    few_shot_recall,
    js_distance,
    learned_scores,
    membership_scores,
    ridge_probe,
)
from unsee.methods import METHODS
from unsee.models import blueprint, head, normalise, read
from unsee.nouns import Data
from unsee.training import counted, device_of, predict

GRID = tomllib.loads((Path(__file__).parent / "ablation.toml").read_text())
RESULTS = ROOT / "docs" / "evidence" / "ablation"
PAGE = ROOT / "docs" / "methods" / "ablation.md"
GONE, PROBED, DRAWS = 0, 400, 20  # the class; images of it that the probe is fitted to; few shots
FILES = {"original": "cifar10-base", "retrained": f"cifar10-no-class{GONE}"}
SETTING = ("method", "options", "buffer", "seed", "looked")  # what of a cell decides its figures


def settings() -> dict[str, dict[str, Any]]:
    """Return by its name what decides every cell, the given models first."""
    given = {
        f"{model}-{looked}": dict(zip(SETTING, (model, {}, 0.0, 0, looked), strict=True))
        for looked in GRID["looked"]
        for model in FILES
    }
    return given | {
        name: {key: cell[key] for key in SETTING} for name, cell in GRID["cells"].items()
    }


def digests(*, again: bool = False) -> dict[str, str]:
    """Return what a cell has to be made by: what is there stands for its setting, unless again."""
    found = {} if again else cells.read_all(RESULTS)
    ours = [provenance.code(Path(x).read_text()) for x in (__file__, workbench.__file__)]
    today = cells.made_by(*ours, provenance.digest("snu_deep"))
    return {
        name: found[name]["sources"]
        if name in found and found[name]["setting"] == setting
        else today
        for name, setting in settings().items()
        if not (again and "removed" in GRID["cells"].get(name, {}))
    }


class Bench:
    """The data and the given models, read once."""

    @cached_property
    def data(self) -> Data:
        """All images."""
        return sources.load(f"parquet:{CIFAR}")

    def of_class(self, part: str, *, gone: bool) -> Data:
        """Return the images of a part that go, or those that stay."""
        some = self.data.part(part)
        return some[np.flatnonzero((some.labels.numpy() == GONE) == gone)]

    def given(self, name: str) -> nn.Module:
        """Return the original or the retrained model."""
        checkpoint = read(GIVEN / f"{FILES[name]}.safetensors")
        new = blueprint("resnet18:cifar-pool", channels=3, classes=10)()
        units = (torch.tensor(checkpoint.facts[x]) for x in ("mean", "std"))
        return checkpoint.into(normalise(new, *units)).eval()

    @cached_property
    def original(self) -> nn.Module:
        """The given model that saw the class."""
        return self.given("original")

    @cached_property
    def answers(self) -> Tensor:
        """What the retrained model answers to the images to forget."""
        seen = predict(self.given("retrained"), self.of_class("train", gone=True))
        return seen.logits.softmax(1)

    def cell(self, name: str) -> cells.Cell:
        """Make a model as its setting says, and measure it."""
        setting, cost = settings()[name], dict[str, Any]()
        if gone := GRID["cells"].get(name, {}).get("removed"):
            raise SystemExit(f"{name} cannot be measured again: {gone} is no option any more")
        if setting["method"] in FILES:
            model = self.given(setting["method"])
        else:
            model, spent = measured(lambda: self.unlearned(setting))
            cost = {key: spent[key] for key in ("seconds", "image_gradients")}
        return {
            "measured_by": "these files",
            "setting": setting,
            "measured": self.figures(model, GRID["looked"][setting["looked"]]),
            "environment": environment(device_of(model)),
            **cost,
        }

    def unlearned(self, setting: dict[str, Any]) -> nn.Module:
        """Unlearn as a setting says."""
        forget, retain = (self.of_class("train", gone=x) for x in (True, False))
        seed, size = setting["seed"], round(setting["buffer"] * len(retain))
        order = torch.randperm(len(retain), generator=generator(seed, "buffer"))
        shown, rng = retain[order[:size].numpy()], generator(seed, "u")
        told = {"rng": rng, "gone": (GONE,), **setting["options"]}
        if setting["method"] in METHODS:
            return METHODS[setting["method"]](self.original, forget, shown, **told)
        own = copy.deepcopy(self.original)
        with counted(own):
            return workbench.workbench(own, forget, shown, **told).eval()

    def figures(self, model: nn.Module, looked: dict[str, int]) -> dict[str, Any]:
        """Measure a model; all models are asked about the same images with the same draws."""
        retain, test = self.of_class("train", gone=False), self.data.part("test")
        forget = self.of_class("train", gone=True)[: looked["forget"]]
        some = torch.randperm(len(retain), generator=generator(99, "ra"))[:7200]
        place = torch.arange(len(test))
        asked = (place % looked["every"] == 0) | (test.labels == GONE)
        ours = predict(model, forget)
        kept = predict(model, retain[some[: looked["retain"]].numpy()])
        new = predict(model, test[np.flatnonzero(asked.numpy())])
        kin, right = new.labels == GONE, new.logits.argmax(1) == new.labels
        few = torch.randperm(len(forget), generator=generator(7, "p"))[:PROBED]
        probe = ridge_probe(
            torch.cat([ours.features[few], kept.features]),
            torch.cat([ours.labels[few], kept.labels]),
            new.features[kin],
        )
        shots = few_shot_recall(
            kept.features,
            kept.labels,
            ours.features,
            new.features[kin],
            rng=generator(8, "f"),
            draws=DRAWS,
        )
        answers = ours.logits.softmax(1)
        apart = js_distance(answers, self.answers[: len(answers)])
        sides = (ours.logits, ours.labels), (new.logits[kin], new.labels[kin])
        return {
            "forget_accuracy": _share(ours.logits.argmax(1) == GONE),
            "retain_accuracy": _share(kept.logits.argmax(1) == kept.labels),
            "test_accuracy": _share(right[~kin]),
            "test_recall_of_classes": [
                _share(right[new.labels == c]) for c in range(len(test.classes))
            ],
            "membership_auc": _attacks(*sides),
            "probe_recall": _share(probe == GONE),
            "few_shot_recall": _share(shots),
            **self.relearned(model),
            "js_distance": _share(apart),
            "js_divergence": _share(apart.square()),
            "confidence": _share(answers.max(1).values),
        }

    def relearned(self, model: nn.Module) -> dict[str, float | None]:
        """Return recall after 20 steps of learning again: as it is, and with the first layer."""
        forget, retain = (self.of_class("train", gone=x) for x in (True, False))
        unseen, rng = self.of_class("test", gone=True), generator(11, "rl")
        parts = ((unseen, TESTED), (forget, FORGET), (retain, RETAIN))
        rows = [torch.randperm(len(x), generator=rng)[:most].numpy() for x, most in parts]
        asked, old, kept = (x[some] for (x, _), some in zip(parts, rows, strict=True))
        taught = Data(
            torch.cat([x.take(torch.arange(len(x))) for x in (old, kept)]),
            torch.cat([old.labels, kept.labels]),
            np.concatenate([old.ids, kept.ids]),
            np.concatenate([old.parts, kept.parts]),
            unseen.classes,
        )
        one = as_floats(unseen.take(torch.arange(1)))
        lesson, found = _Lesson(taught, asked, 123, 2.0), dict[str, float | None]()
        for name, whose in (("", model), ("_restored", self.original)):
            curve = _curve(model, lesson, head(whose, one))  # ends after 20 steps
            found[f"relearn_recall{name}"] = curve.recall[-1] if curve.hits else None
        return found


def _attacks(ours: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> dict[str, float]:
    a, b = membership_scores(*ours), membership_scores(*new)
    found = {name: float(auc(a[name], b[name])) for name in a}
    learned = learned_scores(*ours, *new, rng=generator(5, "l"))
    return found | ({"learned": float(auc(*learned))} if learned else {})


def _share(values: Tensor) -> float:
    return float(values.double().mean())


def main() -> None:
    """Measure the cells that are asked for, or all that are not there, and write the page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("cells", nargs="*", help="beginnings of names")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--again", action="store_true", help="measure what is there anew")
    asked = parser.parse_args()
    if not asked.page and SHARED.exists():
        torch.set_num_threads(1)  # as the search did: sums in another order are other figures
        cells.measure(RESULTS, digests(again=asked.again), Bench().cell, asked.cells)
    elif not asked.page:
        print(f"skipped, {SHARED} is missing", file=sys.stderr)
    write(PAGE, ablation_page.page(PAGE.read_text(), GRID, cells.read_all(RESULTS)).encode())


if __name__ == "__main__":
    main()

"""The plain reconstruction, reproduced: MNIST and CIFAR-10, every class, one and two epochs.

``python verify/reproduce.py`` measures every cell that is not up to date and writes the page and
its picture; ``python verify/reproduce.py mnist cifar10-class3`` only the cells whose names begin
so, and ``--page`` none.  A cell is one model: the original before one class went, or after.  The
guard is off, since harm is part of what is reported.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache

import cells
import provenance
import reproduction_page
import torch
from frontier import MNIST, Bench, Task
from main_job import ROOT, cifar
from torch import Tensor

from unsee.accounting import environment, measured
from unsee.auditing import Inquiry
from unsee.audits import AUDITS
from unsee.draws import generator
from unsee.erasure import unlearn
from unsee.errors import DivergenceError
from unsee.explanation import control
from unsee.functional import bootstrap, top_overlap
from unsee.nouns import Config, Data, Maps, Measurement, Split, View
from unsee.training import device_of

RESULTS = ROOT / "docs" / "evidence" / "reproduction"
METHOD = "snu"
BASES = {
    "mnist": Config(data=f"mnist:{MNIST}", arch="resnet18:imagenet", train_epochs=2),
    "cifar10": replace(cifar(0), oracle="none", train_epochs=10),  # as the given one was trained
}
EPOCHS, BUFFERS = (1, 2), (0.1, 0.0)
MOST = {"forget": 1000, "retain": 2000, "test": 3000}  # images looked at, beside all unseen ones
ASKED = ("accuracy", "membership", "few_shot", "evidence")
Numbers = dict[str, Measurement | None]


@dataclass(frozen=True)
class Setting:
    """How one class is unlearned."""

    epochs: int
    buffer: float

    @property
    def name(self) -> str:
        """Of its cells."""
        return f"epochs{self.epochs}-buffer{round(100 * self.buffer):02d}"


SETTINGS = {s.name: s for epochs in EPOCHS for b in BUFFERS if (s := Setting(epochs, b))}


def digests() -> dict[str, str]:
    """Return by the name of every cell the digest of the sources that decide its numbers."""
    ours, theirs = provenance.digest(METHOD), provenance.digest("retrain")
    return {
        f"{base}-class{number}-{kind}": cells.made_by(
            theirs if kind == "original" else ours,
            asked=[config, number, SETTINGS.get(kind), MOST, ASKED],
        )
        for base, config in BASES.items()
        for number in range(10)
        for kind in ("original", *SETTINGS)
    }


class Subject:
    """One class of one data set: its images, and what the original says of a part of them."""

    def __init__(self, name: str, config: Config) -> None:
        self.bench = Bench(name, Task(config))
        self.inquiry = Inquiry(some(self.bench.split), audits={x: AUDITS[x] for x in ASKED})

    @cached_property
    def original(self) -> View:
        """What the original says and where it looks."""
        return self.inquiry.look("original", self.bench.model("original"))

    def told(self, view: View) -> cells.Cell:
        """Return the figures of one model, and the mean of its maps."""
        numbers, _ = self.inquiry.answers(view, self.original, None)
        maps = maps_of(view)
        numbers |= moved(maps, maps_of(self.original))
        shown = {"true": maps.forget, "answer": maps.forget_answer}
        return {
            "measured": {name: m and asdict(m) for name, m in numbers.items() if wanted(name)},
            "layer": maps.layer,
            "maps": {name: x.mean(0).tolist() for name, x in shown.items()},
            "environment": environment(device_of(view.model)),
        }


def wanted(name: str) -> bool:
    """Return whether a figure is kept: of every attack the AUC alone, and no single classes."""
    return "/" not in name or name.startswith("membership_auc/")


def maps_of(view: View) -> Maps:
    """Return where a model looks.  Raises ArithmeticError if it has no layer with maps."""
    if view.maps is None:
        raise ArithmeticError(f"Expected a layer with maps, got none of the {view.name} model")
    return view.maps


def some(split: Split) -> Split:
    """Return fewer images of each part, at random, and all unseen ones of the class that goes."""
    kin = torch.isin(split.test.labels, torch.tensor(split.gone))
    others = (~kin).nonzero()[_rows(int((~kin).sum()), "test"), 0]
    return replace(
        split,
        forget=_drawn(split.forget, "forget"),
        retain=_drawn(split.retain, "retain"),
        test=split.test[torch.cat([kin.nonzero()[:, 0], others]).numpy()],
    )


def _rows(n: int, part: str) -> Tensor:
    return torch.randperm(n, generator=generator(0, f"reproduce/{part}"))[: MOST[part]]


def _drawn(data: Data, part: str) -> Data:
    return data[_rows(len(data), part).numpy()]


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each of two maps ``[N, h, w]``, where both vary: ``[M <= N]``.

    >>> pearson(torch.eye(2)[None], 3 * torch.eye(2)[None])
    tensor([1.])
    """
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    both = (a.norm(dim=1) > 0) & (b.norm(dim=1) > 0)
    found: Tensor = (a * b).sum(1)[both] / (a.norm(dim=1) * b.norm(dim=1))[both]
    return found


def moved(now: Maps, original: Maps) -> Numbers:
    """Say how alike the maps are to the original's of the true class, on the same images.

    Of the true class (``true``) and of the class that this model answers (``answer``): IoU of the
    top 20 % and Pearson's correlation, over images where both maps show something.
    """
    before, found = original.forget, Numbers()
    for kind, maps in (("true", now.forget), ("answer", now.forget_answer)):
        shown = (maps.amax((1, 2)) > 0) & (before.amax((1, 2)) > 0)
        alike = {
            "iou": top_overlap(maps[shown], before[shown]) if shown.any() else before[:0, 0, 0],
            "pearson": pearson(maps, before),
        }
        for name, values in alike.items():
            dice = generator(0, f"reproduce/{name}")
            found[f"{name}_{kind}"] = bootstrap(_mean, values, rng=dice) if len(values) else None
    return found


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def after(subject: Subject, setting: Setting) -> cells.Cell:
    """Unlearn one class and measure what is left."""
    split, original = subject.bench.split, subject.original.model
    facts = asdict(setting) | {"kept": round(setting.buffer * len(split.retain))}
    try:
        model, cost = measured(
            lambda: unlearn(
                original,
                split.forget,
                split.retain,
                method=METHOD,
                guard=1,
                retain_fraction=setting.buffer,
                epochs=setting.epochs,
            )
        )
    except DivergenceError as error:  # a failure of the method is a result
        return facts | {"failed": str(error), "environment": environment(device_of(original))}
    return {
        **facts,
        **subject.told(subject.inquiry.look("unlearned", model)),
        "seconds": cost["seconds"],
        "image_gradients": cost["image_gradients"],
        "retraining_gradients": subject.bench.task.config.train_epochs * len(split.retain),
    }


def before(subject: Subject) -> cells.Cell:
    """Measure the original, and the architecture with random weights: the control of the maps."""
    view, maps = subject.original, maps_of(subject.original)
    blank = control(view.model, subject.inquiry.samples(), generator(0, "control"))
    if blank is None:
        raise ArithmeticError("Expected an architecture that can start anew, got another")
    alike = moved(maps_of(blank), maps)
    parts = ("forget", "retain", "unseen", "test")
    return {
        **subject.told(view),
        "control": {name: m and asdict(m) for name, m in alike.items()},
        "n": {part: len(getattr(view, part).labels) for part in parts} | {"maps": len(maps.forget)},
    }


@lru_cache(maxsize=1)
def subject_of(base: str, number: int) -> Subject:
    """Return one class at work; one at a time."""
    return Subject(f"{base}-class{number}", replace(BASES[base], forget=f"class={number}"))


def numbered(name: str) -> tuple[str, int, str]:
    """Split the name of a cell: data, class, and what was done."""
    base, number, kind = name.split("-", 2)
    return base, int(number.removeprefix("class")), kind


def make(name: str) -> cells.Cell:
    """Measure one cell."""
    base, number, kind = numbered(name)
    subject = subject_of(base, number)
    facts = {"data": base, "class": number, "title": subject.bench.split.classes[number]}
    return facts | (before(subject) if kind == "original" else after(subject, SETTINGS[kind]))


def publish(found: dict[str, cells.Cell]) -> None:
    """Write page and picture."""
    reproduction_page.PAGE.write_text(reproduction_page.page(found))
    reproduction_page.PICTURE.write_text(reproduction_page.picture(found))


def main() -> None:
    """Measure what is asked for and not up to date, and write page and picture."""
    cells.command(main.__doc__, RESULTS, digests, make, publish)


if __name__ == "__main__":
    main()

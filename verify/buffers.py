"""How much of what stays has to be shown: CIFAR-10 (JPEG), class 0, buffers of 100 % to nothing.

``python verify/buffers.py`` measures every cell that is not up to date and writes the table of
``docs/buffers.md``; ``python verify/buffers.py coverage`` only the cells whose names begin so, and
``--page`` none.  The guard is off, since harm is part of what is reported.
"""

from dataclasses import asdict, replace
from functools import cache, cached_property, partial
from pathlib import Path

import cells
import provenance
import torch
from main_job import ROOT, SHARED, cifar
from torch import nn

from unsee import buffers
from unsee.accounting import environment, measured
from unsee.auditing import Inquiry
from unsee.audits import AUDITS, observe
from unsee.draws import generator
from unsee.erasure import unlearn
from unsee.folder import write
from unsee.nouns import Config, Data, Seen, View
from unsee.preparation import prepare
from unsee.training import device_of, predict

RESULTS = ROOT / "docs" / "evidence" / "buffers"
PAGE = ROOT / "docs" / "buffers.md"
BEGIN, END = "<!-- make buffers -->\n", "<!-- end of make buffers -->\n"
METHOD = "snu_deep"
SHARES = (0.1, 0.05, 0.01)
CELLS: dict[str, tuple[float, str]] = {  # name -> share and pick
    "all": (1.0, "random"),
    **{f"{pick}-{round(100 * s):02d}": (s, pick) for s in SHARES for pick in buffers.PICKS},
    "none": (0.0, "random"),
}
GIVEN = ("original", "retrained")
SHOWN = {
    "forget": "forget_accuracy",
    "retain": "retain_accuracy",
    "test that stays": "test_accuracy",
    "few-shot": "few_shot_recall",
    "AUC": "membership_auc",
}
TARGETS = {0.01: 0.02, 0.0: 0.05}  # by the share: what accuracy on retained images may lose


def digests() -> dict[str, str]:
    """Return by the name of every cell the digest of the sources that decide its numbers."""
    folder = Path(buffers.__file__).parent
    texts = [path.read_text() for path in (*sorted(folder.glob("*.py")), Path(__file__))]
    ours = cells.made_by(*map(provenance.code, texts), provenance.digest(METHOD))
    return dict.fromkeys((*GIVEN, *CELLS), ours)


class Curve:
    """One class of one data set, and what is left of the rest where less and less is shown."""

    def __init__(self, config: Config, looked_at: int = 10_000) -> None:
        self.job = prepare(config)
        split = self.job.split
        rows = torch.randperm(len(split.retain), generator=generator(0, "buffers/retain"))
        some = replace(split, retain=split.retain[rows[:looked_at].numpy()])
        asked = {name: AUDITS[name] for name in ("accuracy", "few_shot", "membership")}
        self.inquiry = Inquiry(some, audits=asked)

    @cached_property
    def original(self) -> nn.Module:
        """The given model."""
        if self.job.given is None or self.job.oracle is None:
            raise ValueError("Expected an original and a retrained model, got none")
        return self.job.load(self.job.given)

    @cached_property
    def everything(self) -> Seen:
        """What it sees of every training image, once for all buffers."""
        return predict(self.original, self.job.train)

    @cached_property
    def before(self) -> View:
        """What it sees of all that is looked at."""
        return self.look(self.original)

    def look(self, model: nn.Module) -> View:
        """See the images that are looked at, the same ones with every model."""
        return observe("model", model, self.inquiry.split, partial(generator, 0))

    def shown(self, name: str) -> Data:
        """Return what is left of a buffer that was picked when the model was trained."""
        share, pick = CELLS[name]
        made = buffers.make(
            self.original, self.job.data, share=share, pick=pick, seen=self.everything
        )
        _, placed = buffers.placed(made, self.job.data, "")
        return placed.shown(self.job.split)

    def cell(self, name: str) -> cells.Cell:
        """Return the figures of one model."""
        cost: cells.Cell = {}
        if name == "original":
            view = self.before
        elif name == "retrained" and self.job.oracle is not None:
            view = self.look(self.job.load(self.job.oracle))
        else:
            split, shown = self.job.split, self.shown(name)
            model, spent = measured(
                lambda: unlearn(
                    self.original,
                    split.forget,
                    split.retain,
                    method=METHOD,
                    buffer=shown,
                    gone=split.gone,
                    guard=1,
                )
            )
            view = self.look(model)
            cost = {key: spent[key] for key in ("seconds", "image_gradients")}
            cost |= {"images": len(shown)}
        numbers, _ = self.inquiry.answers(view, self.before, None)
        kept = {name: m and asdict(m) for name, m in numbers.items() if name in SHOWN.values()}
        return {"measured": kept, **cost, "environment": environment(device_of(view.model))}


def table(found: dict[str, cells.Cell]) -> str:
    """Return the table of all cells that there are, and what its figures say of the targets."""
    lines = [
        f"| buffer | picked by | images | {' | '.join(SHOWN)} | seconds | image gradients |",
        f"|---|---|---|{'---|' * len(SHOWN)}---|---|",
    ]
    for name in (*GIVEN, *CELLS):
        if name in found:
            lines.append(_row(name, found[name]))
    lines += ["", *_targets(found)]
    looked = found["original"]["measured"]["retain_accuracy"]["n"]
    lines += [
        "",
        f"One seed; the guard is off. Retained accuracy is on {looked:,} of the images that stay, "
        "drawn at random,",
        "the same ones for every model; the others are on all images of their kind. Machine: "
        f"{cells.machines(found.values())}.",
    ]
    return "\n".join([*lines, ""])


def _row(name: str, cell: cells.Cell) -> str:
    share, pick = CELLS.get(name, (None, ""))
    what = name if share is None else f"{share:.0%}"
    pick = pick if share not in (None, 0.0, 1.0) else ""
    images = f"{cell['images']:,}" if "images" in cell else ""
    figures = [cell["measured"][key] for key in SHOWN.values()]
    numbers = ["" if m is None else f"{m['value']:.3f}" for m in figures]
    spent = [f"{cell[key]:,.0f}" if key in cell else "" for key in ("seconds", "image_gradients")]
    return f"| {' | '.join([what, pick, images, *numbers, *spent])} |"


def _targets(found: dict[str, cells.Cell]) -> list[str]:
    """Say of each target whether it is reached, by which pick, and by how much."""
    before, lines = _retained(found["original"]), []
    for share, allowed in TARGETS.items():
        tried = {n: _retained(found[n]) for n, (s, _) in CELLS.items() if s == share and n in found}
        if not tried:
            continue
        best = max(tried, key=lambda name: tried[name])
        lost = before - tried[best]
        how = f" (picked by {CELLS[best][1]}, the better of {len(tried)})" if len(tried) > 1 else ""
        said = "reached" if lost <= allowed else "missed"
        lines.append(
            f"- Target, a buffer of {share:.0%}: at most {allowed} of retained accuracy lost: "
            f"{said}, {lost:.3f}{how}."
        )
    return lines


def _retained(cell: cells.Cell) -> float:
    return float(cell["measured"]["retain_accuracy"]["value"])


def page(text: str, found: dict[str, cells.Cell]) -> str:
    """Return the text of the page with its table made anew."""
    start, rest = text.split(BEGIN)
    _, end = rest.split(END)
    return start + BEGIN + (table(found) if "original" in found else "") + END + end


@cache
def curve() -> Curve:
    """Return what all cells share, read when the first of them needs it."""
    return Curve(cifar(0, METHOD))


def make(name: str) -> cells.Cell:
    """Measure one cell."""
    return curve().cell(name)


def publish(found: dict[str, cells.Cell]) -> None:
    """Write the page."""
    write(PAGE, page(PAGE.read_text(), found).encode())


def main() -> None:
    """Measure the cells that are asked for, or all that are not up to date, and write the page."""
    cells.command(main.__doc__, RESULTS, digests, make, publish, missing=SHARED)


if __name__ == "__main__":
    main()

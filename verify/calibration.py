"""The simulation behind the verdict: is it calibrated, what does it see, what does it miss?

Many digits models are trained: with everything, without a class, without random images, and without
most of a class.  Each is measured once, in a cell of its own below ``runs/verify``, so that a
stopped simulation goes on.  Then every verdict is made from these numbers alone: that part takes a
second, and CI repeats it.  Results: ``docs/evidence/calibration.json`` and a page for readers.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import provenance
import torch
from simulation import (
    ASCENDED,
    LEFT_IN,
    SPIKED,
    TESTED,
    TUNED,
    Cells,
    Values,
    name_of,
    page,
    simulated,
)
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import events
from unsee.accounting import environment
from unsee.auditing import Inquiry
from unsee.audits import AUDITS, observe
from unsee.data import batches, steps_per_epoch
from unsee.draws import generator
from unsee.erasure import trained, unlearn
from unsee.methods import method
from unsee.nouns import Config, Data, Split
from unsee.parallel import fan_out
from unsee.preparation import Job, prepare
from unsee.training import answers, descend
from unsee.verdict import load_policy

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "evidence" / "calibration.json"
BASE = Config(data="digits", arch="convnet", train_epochs=8)
RULES = {"class": "class=3", "random": "random=10%"}
ASKED = ("accuracy", "membership", "few_shot")


@dataclass(frozen=True)
class Cell:
    """One model to train, change and measure."""

    kind: str  # original, oracle, left-in, or the name of what is done to an original
    rule: str  # class or random: what is left out, and what it is measured by
    seed: int
    share: float = 0.0  # of the forget set that stays in training
    folder: str = ""

    @property
    def name(self) -> str:
        """Of its file, and its key in the results."""
        return name_of(self.kind, self.rule, self.seed, self.share)


def cells() -> Iterator[Cell]:
    """Yield every cell; those that the table needs first come first."""
    for seed in (*TESTED, *TUNED):
        yield Cell("oracle", "class", seed)
        yield Cell("original", "class", seed)
    for seed in TESTED:
        yield Cell("head_only", "class", seed)
        yield Cell("random_head", "class", seed)
        yield Cell("oracle", "random", seed)
        yield Cell("original", "random", seed)
    for seed in ASCENDED:
        yield Cell("ascent", "random", seed)
    for seed in SPIKED:
        for share in LEFT_IN:
            yield Cell("left-in", "class", seed, share)


@lru_cache(maxsize=2)
def job_of(rule: str) -> Job:
    """Prepare the data once a process.

    As a run does by default: where single images go, half of the test images are for validation.
    """
    with events.noted():
        return prepare(replace(BASE, forget=RULES[rule]))


@method(title="Ascent beside descent", paper="https://arxiv.org/abs/2302.09880", data="all")
def ascent(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 60,
    lr: float = 5e-2,
    weight: float = 0.4,
) -> nn.Module:
    """Climb the loss of the images to forget beyond all unseen ones, and hold on to the rest."""
    keep = batches(retain, size=128, rng=rng)

    def losses() -> Iterator[torch.Tensor]:
        for x, y in batches(forget, epochs=epochs, size=64, rng=rng):
            images, labels = next(keep)
            logits = answers(model, torch.cat([images, x]))
            kept, lost = logits.split([len(images), len(x)])
            up = cross_entropy(lost, y, reduction="none").clamp(max=4.0)  # else it runs away
            yield cross_entropy(kept, labels) - weight * up.mean()

    return descend(model, losses(), lr=lr, steps=epochs * steps_per_epoch(len(forget), 64))


def model_of(cell: Cell) -> nn.Module:
    """Train a cell's model, or change an original one."""
    job = job_of(cell.rule)
    if cell.kind == "oracle":
        return trained(job, job.split, "retrain", seed=cell.seed)
    if cell.kind == "left-in":
        return trained(job, _less(job, cell), "retrain", seed=cell.seed)
    original = trained(job, None, "train", seed=cell.seed)
    if cell.kind == "original":
        return original
    how = ascent if cell.kind == "ascent" else cell.kind
    parts = job.split.forget, job.split.retain
    return unlearn(original, *parts, method=how, seed=cell.seed, guard=1)  # some are to do harm


def _less(job: Job, cell: Cell) -> Split:
    """Return the split of a careless retraining: some of the forget set stays in training."""
    forget = job.split.forget
    order = torch.randperm(len(forget), generator=generator(cell.seed, "left in")).numpy()
    n = max(1, round(cell.share * len(forget)))
    stays = np.isin(job.train.ids, forget.ids[order[:n]])
    kept = np.isin(job.train.ids, job.split.retain.ids) | stays
    return replace(job.split, forget=forget[order[n:]], retain=job.train[np.flatnonzero(kept)])


def measured(cell: Cell) -> tuple[str, Values]:
    """Return what the audits of the verdict say of a cell's model; made once."""
    file = Path(cell.folder, f"{cell.name}.json")
    if not file.exists():
        with events.noted():
            job, model = job_of(cell.rule), model_of(cell)
            inquiry = Inquiry(job.split, audits={name: AUDITS[name] for name in ASKED})
            view = observe("original", model, job.split, partial(generator, 0))
            numbers, _ = inquiry.answers(view, view, None)
        names = load_policy().audits(bool(job.split.gone))
        values = {n: [m.value, m.low, m.high] if (m := numbers[n]) else None for n in names}
        part = file.with_suffix(f".{cell.seed}.part")
        part.write_text(json.dumps(values))
        part.replace(file)
    return cell.name, json.loads(file.read_text())


def main() -> None:
    """Train and measure what is missing, then judge, and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    asked = parser.parse_args()
    made_by = provenance.digest_of_calibration()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found: Cells = known["cells"] if known.get("sources") == made_by else {}
    folder = ROOT / "runs" / "verify" / f"calibration-{made_by[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [replace(cell, folder=str(folder)) for cell in cells() if cell.name not in found]
    for n, (name, values) in enumerate(fan_out(measured, missing, jobs=asked.jobs), 1):
        found[name] = values
        print(f"calibration: {n} of {len(missing)}: {name}", file=sys.stderr)
    record = {
        "sources": made_by,
        "cells": found,
        "environment": environment(torch.device("cpu")) if missing else known["environment"],
        **simulated(found),
    }
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    RESULTS.with_suffix(".md").write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    import calibration  # other processes import what they are to do by that name

    calibration.main()

"""The simulation behind the verdict: is it calibrated, what does it see, what does it miss?

Many digits models are trained: with everything, without a class, without random images, and without
most of a class.  Each is measured once, in a cell of its own below ``runs/verify``, so that a
stopped simulation goes on.  Then every verdict is made from these numbers alone: that part takes a
second, and CI repeats it.  Results: ``docs/evidence/calibration.json`` and a page for readers.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import provenance
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import events
from unsee.accounting import environment
from unsee.auditing import Inquiry
from unsee.audits import AUDITS, observe
from unsee.data import batches, steps_per_epoch
from unsee.draws import generator
from unsee.erasure import trained, unlearn
from unsee.functional import exact_share
from unsee.methods import method
from unsee.nouns import Config, Data, Measurement, Run, Split
from unsee.parallel import fan_out
from unsee.preparation import Job, prepare
from unsee.training import answers, descend
from unsee.verdict import load_policy, verdict

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "evidence" / "calibration.json"
BASE = Config(data="digits", size=16, arch="convnet", train_epochs=12)
RULES = {"class": "class=3", "random": "random=10%"}
TUNED, TESTED, SPIKED = range(24), range(100, 124), range(200, 212)
LEFT_IN = (0.01, 0.05, 0.10, 0.25)  # shares of the forget set that stay in training
ASKED = ("accuracy", "membership", "few_shot")
Values = dict[str, float | None]
Cells = dict[str, Any]


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
        left = f"-{round(100 * self.share)}" if self.share else ""
        return f"{self.kind}{left}-{self.rule}-{self.seed:03d}"


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
    for seed in TESTED[:8]:
        yield Cell("ascent", "random", seed)
    for seed in SPIKED:
        for share in LEFT_IN:
            yield Cell("left-in", "class", seed, share)


@lru_cache(maxsize=2)
def job_of(rule: str) -> Job:
    """Prepare the data once a process."""
    with events.noted():
        return prepare(replace(BASE, forget=RULES[rule]))


@method(title="Ascent beside descent", paper="https://arxiv.org/abs/2302.09880", data="all")
def ascent(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    rng: torch.Generator,
    epochs: int = 10,
    lr: float = 1e-2,
) -> nn.Module:
    """Climb the loss of the images to forget, far, and hold on to all others."""
    keep = batches(retain, size=128, rng=rng)

    def losses() -> Iterator[torch.Tensor]:
        for x, y in batches(forget, epochs=epochs, size=64, rng=rng):
            images, labels = next(keep)
            up = cross_entropy(answers(model, x), y).clamp(max=8.0)  # else it runs away
            yield cross_entropy(answers(model, images), labels) - up

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
    return unlearn(original, job.split.forget, job.split.retain, method=how, seed=cell.seed)


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
        values = {name: m.value if (m := numbers[name]) else None for name in names}
        part = file.with_suffix(f".{cell.seed}.part")
        part.write_text(json.dumps(values))
        part.replace(file)
    return cell.name, json.loads(file.read_text())


def judged(
    values: Values, original: Values, references: list[Values], gone: bool
) -> dict[str, Any]:
    """Return the verdict on one model, from numbers alone."""

    def numbers(found: Values) -> dict[str, Measurement | None]:
        return {name: None if x is None else Measurement(x, x, x, 1) for name, x in found.items()}

    run = Run(
        data={},
        forget={"gone": ["3"] if gone else []},
        measurements={"original": numbers(original), "unlearned": numbers(values)},
        environment={},
        seed=0,
        references={name: [found[name] for found in references] for name in values},
    )
    return verdict(run, load_policy())


def _of(found: Cells, kind: str, rule: str, seeds: range, share: float = 0.0) -> list[Values]:
    return [found[Cell(kind, rule, seed, share).name] for seed in seeds]


def simulated(found: Cells) -> dict[str, Any]:
    """Make every verdict of the table from the cells' numbers; needs no training."""
    rows: dict[str, Counter[str]] = {}

    def count(row: str, done: dict[str, Any]) -> None:
        rows.setdefault(row, Counter())[f"{done['light']}: {done['kind']}"] += 1

    for name, seeds in (("0-23", TUNED), ("100-123", TESTED)):
        oracles = _of(found, "oracle", "class", seeds)
        originals = _of(found, "original", "class", seeds)
        for n, original in enumerate(originals):
            others = oracles[:n] + oracles[n + 1 :]
            count(
                f"retrained, leave one out, seeds {name}",
                judged(oracles[n], original, others, True),
            )
            count(f"noop, seeds {name}", judged(original, original, oracles, True))
            count(
                f"retrained, one reference, seeds {name}",
                judged(oracles[n], original, others[:1], True),
            )
            count(
                f"noop, one reference, seeds {name}",
                judged(original, original, oracles[n : n + 1], True),
            )
    oracles = _of(found, "oracle", "class", TESTED)
    originals = _of(found, "original", "class", TESTED)
    for kind in ("head_only", "random_head"):
        for n, values in enumerate(_of(found, kind, "class", TESTED)):
            count(f"{kind}, seeds 100-123", judged(values, originals[n], oracles, True))
            one = oracles[n : n + 1]
            count(f"{kind}, one reference, seeds 100-123", judged(values, originals[n], one, True))
    singles = _of(found, "oracle", "random", TESTED)
    before = _of(found, "original", "random", TESTED)
    for n, original in enumerate(before):
        others = singles[:n] + singles[n + 1 :]
        count("random 10 %: retrained, leave one out", judged(singles[n], original, others, False))
        count("random 10 %: noop", judged(original, original, singles, False))
    for n, values in enumerate(_of(found, "ascent", "random", TESTED[:8])):
        count("random 10 %: ascent", judged(values, before[n], singles, False))
    limit = []
    for share in LEFT_IN:
        lights = Counter(
            judged(values, originals[n], oracles, True)["light"]
            for n, values in enumerate(_of(found, "left-in", "class", SPIKED, share))
        )
        red = exact_share(lights["red"], len(SPIKED))
        limit.append(
            {"share": share, "red": red.value, "low": red.low, "high": red.high, "n": red.n}
        )
    return {"verdicts": {name: dict(sorted(c.items())) for name, c in rows.items()}, "limit": limit}


def page(record: dict[str, Any]) -> str:
    """Return the tables for readers."""
    lines = [
        "# The verdict, simulated",
        "",
        "Made by `make verify` (`verify/calibration.py`) on scikit-learn's digits, 16 x 16, `convnet`,",
        "12 epochs. A row counts the verdicts on one kind of model; the numbers behind each model",
        "are in `calibration.json`, from which CI makes these tables again.",
        "",
        "| model | n | verdicts |",
        "|---|---|---|",
    ]
    for name, counts in record["verdicts"].items():
        told = ", ".join(f"{n} x {kind}" for kind, n in counts.items())
        lines.append(f"| {name} | {sum(counts.values())} | {told} |")
    lines += [
        "",
        "## Detection limit",
        "",
        "Retrained models in whose training a share of the forget set was left: how often the verdict",
        "is red, with the exact 95 % interval.",
        "",
        "| left in training | red | 95 % interval | models |",
        "|---|---|---|---|",
    ]
    for row in record["limit"]:
        lines.append(
            f"| {row['share']:.0%} | {row['red']:.2f} | {row['low']:.2f}-{row['high']:.2f} | {row['n']} |"
        )
    lines += ["", "## What the audits measured", "", "Mean and standard deviation over models.", ""]
    lines += ["| model | n | " + " | ".join(NAMES) + " |", "|---|---|" + "---|" * len(NAMES)]
    groups: dict[str, list[Values]] = {}
    for name, values in record["cells"].items():
        groups.setdefault(name.rpartition("-")[0], []).append(values)
    for name, group in groups.items():
        told = [_spread([v[n] for v in group if v.get(n) is not None]) for n in NAMES]
        lines.append(f"| {name} | {len(group)} | {' | '.join(told)} |")
    return "\n".join([*lines, "", f"Machine: {record['environment']['device']}.", ""])


NAMES = load_policy().classes


def _spread(values: list[Any]) -> str:
    if not values:
        return ""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / max(len(values) - 1, 1))
    return f"{mean:.3f} +- {spread:.3f}"


def main() -> None:
    """Train and measure what is missing, then judge, and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--partial", action="store_true", help="stop after training")
    asked = parser.parse_args()
    made_by = provenance.digest_of_calibration()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if known.get("sources") == made_by:
        print("calibration: up to date", file=sys.stderr)
        return
    folder = ROOT / "runs" / "verify" / f"calibration-{made_by[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    every = [replace(cell, folder=str(folder)) for cell in cells()]
    found: Cells = {}
    for n, (name, values) in enumerate(fan_out(measured, every, jobs=asked.jobs), 1):
        found[name] = values
        print(f"calibration: {n} of {len(every)}: {name}", file=sys.stderr)
    record = {
        "sources": made_by,
        "cells": found,
        "environment": environment(torch.device("cpu")),
        **simulated(found),
    }
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    RESULTS.with_suffix(".md").write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    import calibration  # other processes import what they are to do by that name

    calibration.main()

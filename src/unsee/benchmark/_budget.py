"""How long a method may train within a budget of image gradients.

What a method spends depends on how many images it is shown and for how many epochs, hardly on the
network that they pass through.  So it is run with a linear stand-in on the cell's own images, and
only counted: seconds, where the real run takes minutes.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from unsee.erasure import unlearned
from unsee.errors import OptionError
from unsee.methods import Method
from unsee.preparation import Job
from unsee.training import counting

LENGTHS = ("epochs", "steps")  # the option that says how long, in the order of looking for it
SLOW = 1e-8  # a rate
SIDE = 4  # pixels of the stand-in's images


@dataclass(frozen=True)
class Allowance:
    """What a cell may spend, and what that comes to."""

    budget: int
    options: dict[str, int]  # how long; {}: the method has no such option
    expected: float  # image gradients, as counted with a stand-in


def allowance(job: Job, budget: int) -> Allowance:
    """Return for how long the job's method may train: as asked, or as long as the budget lasts.

    Args:
        job: of the cell, with the options that were asked for.
        budget: image gradients; a forward pass alone is a third of one.

    Raises:
        OptionError: if its shortest run costs more.

    """
    length = length_of(job.method)
    asked = job.options if length is None else {length: job.options[length]}
    once = spent(job, asked if length is None else {length: 1})
    if once > budget:
        least = "it" if length is None else f"1 of its {length}"
        raise OptionError(
            f"Expected {job.method.name!r} within {budget:,} image gradients, got {once:,.0f} for "
            f"{least}: raise the budget, or leave the method out"
        )
    if length is None:
        return Allowance(budget, {}, once)
    more = spent(job, {length: 2}) - once
    lasts = asked[length] if more <= 0 else 1 + int((budget - once) / more)
    chosen = min(asked[length], lasts)
    found = spent(job, {length: chosen}) if chosen > 2 else once + (chosen - 1) * more
    while found > budget and chosen > 1:  # what it costs is not quite a straight line
        chosen -= 1
        found = spent(job, {length: chosen})
    return Allowance(budget, {length: chosen}, found)


def length_of(method: Method) -> str | None:
    """Return the option that says for how long a method trains, None if there is none."""
    return next((name for name in LENGTHS if name in method.options), None)


def spent(job: Job, options: dict[str, Any]) -> float:
    """Return what the job's method spends with these options: counted with a stand-in."""
    config = job.config
    slow = {"lr": SLOW} if "lr" in job.method.options else {}  # a stand-in must not diverge
    asked = dict(config.options) | slow | options
    fixed = replace(config, options=asked, tune=0, guard=1.0)
    shape = len(job.data.classes), int(job.data.images.shape[1])
    stand_in = partial(_stand_in, *shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = stand_in().eval()
        with counting() as count:
            unlearned(replace(job, config=fixed, restart=stand_in), model)
    return sum(count)


def _stand_in(classes: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(SIDE),
        nn.Flatten(),
        nn.BatchNorm1d(channels * SIDE**2),
        nn.Linear(channels * SIDE**2, classes),
    )

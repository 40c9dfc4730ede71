"""What a run would touch, and about how long it would take.  Nothing is changed or written.

As ``python -m unsee.rehearsal`` it reads the fields of a Config as JSON and answers in JSON: for
``unsee serve``, which computes nothing itself.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from math import fsum

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee import events
from unsee.data import batches
from unsee.errors import UnseeError
from unsee.nouns import Config, Data
from unsee.preparation import Job, prepare
from unsee.training import device_of, precision

TIMED = 3  # batches, after one that warms up
PARTS = ("forget", "retain", "test")


@dataclass(frozen=True)
class Rehearsal:
    """What is known of a run before it starts."""

    data: str
    rule: str
    method: str
    counts: dict[str, int]  # images of each part
    trained: int  # images that the model was trained on
    shown: int  # images to keep that the method would be shown
    classes: tuple[tuple[str, int, int, int], ...]  # name, and images of PARTS; who loses first
    seconds: dict[str, float]  # by stage, from TIMED batches

    @property
    def total(self) -> float:
        """Seconds of all stages together."""
        return fsum(self.seconds.values())


def rehearsed(job: Job) -> Rehearsal:
    """Count images per class, and time a few batches on a model to throw away."""
    split = job.split
    counts = [Counter(getattr(split, part).labels.tolist()) for part in PARTS]
    order = sorted(range(len(job.data.classes)), key=lambda c: (-counts[0][c], c))
    return Rehearsal(
        data=job.data.name,
        rule=split.rule,
        method=job.method.name,
        counts={part: len(getattr(split, part)) for part in PARTS},
        trained=len(job.train),
        shown=_shown(job),
        classes=tuple(
            (job.data.classes[c], counts[0][c], counts[1][c], counts[2][c]) for c in order
        ),
        seconds=_seconds(job),
    )


def _shown(job: Job) -> int:
    if job.method.data == "buffer" and job.shown is not None:
        return len(job.shown)
    share = {"all": 1.0, "forget": 0.0, "buffer": job.config.retain_fraction}[job.method.data]
    return round(share * len(job.split.retain))


def _seconds(job: Job) -> dict[str, float]:
    trained, seen = speeds(job.restart(), job.train)
    epochs, split = job.config.train_epochs, job.split
    spent = {"unlearn": max(1, job.config.tune) * _touched(job) / trained}
    if job.given is None:
        spent = {"train": epochs * len(job.train) / trained, **spent}
    if job.config.oracle == "retrain":
        spent["retrain"] = epochs * len(split.retain) / trained
    models = 2 + (job.config.oracle != "none")
    spent["audit"] = models * sum(len(getattr(split, part)) for part in PARTS) / seen
    return spent


def _touched(job: Job) -> float:
    """Estimate a method's image gradients: an epoch is a pass over what it is about."""
    forget, options = len(job.split.forget), job.options
    kept = options.get("kept", 1) * forget
    per_epoch = {"all": len(job.split.retain), "forget": forget, "buffer": forget + kept}
    return float(options.get("epochs", 0) * per_epoch[job.method.data])


def speeds(model: nn.Module, data: Data, size: int = 64) -> tuple[float, float]:
    """Return images per second of training and of looking, timed on a model to throw away.

    Args:
        model: is changed.
        data: images that it takes.
        size: of a batch.

    """
    device, stream = device_of(model.train()), batches(data, rng=torch.Generator(), size=size)
    spent = {True: 0.0, False: 0.0}
    images = 0
    for step in range(TIMED + 1):
        x, y = next(stream)
        x, y = x.to(device), y.to(device)
        for learning in spent:
            start = time.perf_counter()
            with precision(model), torch.set_grad_enabled(learning):
                loss = cross_entropy(model(x), y)
                if learning:
                    loss.backward()
            float(loss.detach())  # waits for the device
            if step:
                spent[learning] += time.perf_counter() - start
        images += len(x) if step else 0
    return images / spent[True], images / spent[False]


def answer(asked: str) -> str:
    """Rehearse what the fields of a Config say, and return one line of JSON.

    It has ``found``, a Rehearsal with its ``total``, and ``notes``, what the data had to say; or
    ``error``.
    """
    try:
        with events.noted() as notes:
            found = rehearsed(prepare(Config.from_json(asked)))
    except UnseeError as error:
        return json.dumps({"error": str(error)})
    return json.dumps({"found": asdict(found) | {"total": found.total}, "notes": notes})


if __name__ == "__main__":
    sys.path.append("")  # for --arch your_module:factory; last, so that it shadows nothing
    print(answer(sys.stdin.read()))

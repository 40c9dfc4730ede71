"""What a run would touch, and about how long it would take."""

import time
from collections import Counter

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.console import printable
from unsee.data import batches
from unsee.nouns import Data
from unsee.preparation import Job
from unsee.training import device_of, precision

TIMED = 3  # batches, after one that warms up
SHOWN = 20  # classes


def rehearsed(job: Job) -> str:
    """Return a table of images per class and the estimated time.  Nothing is changed or written."""
    split = job.split
    lines = [
        f"would forget {len(split.forget)} of {len(job.train)} training images of "
        f"{printable(job.data.name)} by {printable(split.rule)}",
        *_table(job),
        f"would show {job.method.name} {_buffer(job)} of {len(split.retain)} images to keep",
        *_times(job),
        "nothing was written",
    ]
    return "\n".join(lines)


def _table(job: Job) -> list[str]:
    """Count images per class; classes that lose images come first."""
    parts = ("forget", "retain", "test")
    counts = [Counter(getattr(job.split, part).labels.tolist()) for part in parts]
    classes = sorted(range(len(job.data.classes)), key=lambda c: (-counts[0][c], c))
    rows = [f"{'class':24}" + "".join(f"{part:>10}" for part in parts)]
    for number in classes[:SHOWN]:
        name = printable(job.data.classes[number])[:23]
        rows.append(f"{name:24}" + "".join(f"{count[number]:>10}" for count in counts))
    if more := classes[SHOWN:]:
        rest = (sum(count[number] for number in more) for count in counts)
        rows.append(f"{f'{len(more)} more':24}" + "".join(f"{n:>10}" for n in rest))
    return rows


def _buffer(job: Job) -> int:
    if job.method.data == "buffer" and job.shown is not None:
        return len(job.shown)
    share = {"all": 1.0, "forget": 0.0, "buffer": job.config.retain_fraction}[job.method.data]
    return round(share * len(job.split.retain))


def _times(job: Job) -> list[str]:
    trained, seen = speeds(job.restart(), job.train)
    epochs, split = job.config.train_epochs, job.split
    images = {"unlearn": max(1, job.config.tune) * _touched(job) / trained}
    if job.given is None:
        images = {"train": epochs * len(job.train) / trained, **images}
    if job.config.oracle == "retrain":
        images["retrain"] = epochs * len(split.retain) / trained
    models = 2 + (job.config.oracle != "none")
    looked_at = len(split.forget) + len(split.retain) + len(split.test)
    images["audit"] = models * looked_at / seen
    times = [f"{stage} {seconds:.0f} s" for stage, seconds in images.items()]
    return [
        f"estimated from {TIMED} batches: {', '.join(times)}, {sum(images.values()):.0f} s in all"
    ]


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
            with precision(device), torch.set_grad_enabled(learning):
                loss = cross_entropy(model(x), y)
                if learning:
                    loss.backward()
            float(loss.detach())  # waits for the device
            if step:
                spent[learning] += time.perf_counter() - start
        images += len(x) if step else 0
    return images / spent[True], images / spent[False]

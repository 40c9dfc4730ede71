"""From a model to one without the images: unlearning, and training with or without them."""

from typing import Any

import torch
from torch import nn

from unsee.draws import generator
from unsee.errors import OptionError
from unsee.methods import Method, find, gone_classes
from unsee.nouns import Data, Split
from unsee.preparation import Bench, Job


def unlearn(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    method: str | Method = "snu_deep",
    seed: int = 0,
    retain_fraction: float = 0.1,
    purpose: str = "unlearn",
    **more: Any,
) -> nn.Module:
    """Return a new model that is to behave as if it had never seen ``forget``.

    Args:
        model: a trained classifier; it stays as it is.
        forget: the images that are to go.
        retain: all images that stay; the method is shown no more of them than it declares.
        method: a name among ``unsee.METHODS``, or a method.
        seed: of every draw.
        retain_fraction: the share of ``retain`` that a "buffer" method gets, at random.
        purpose: keeps draws apart where one seed serves several calls.
        **more: options of the method; ``validation`` and ``factory`` where it declares them.

    Raises:
        OptionError: if a name or value is unknown.
        SplitError: if the method cannot forget single images, and ``forget`` holds some.
        DivergenceError: if a loss stops being finite.

    """
    method = find(method)
    if not 0 <= retain_fraction <= 1:
        raise OptionError(f"Expected a retain_fraction in 0..1, got {retain_fraction}")
    gone = gone_classes(forget, retain)
    n = round({"all": 1.0, "forget": 0.0, "buffer": retain_fraction}[method.data] * len(retain))
    if n < len(retain):
        shuffled = torch.randperm(len(retain), generator=generator(seed, "buffer"))
        retain = retain[shuffled[:n].numpy()]
    draws = generator(seed, f"{purpose}/{method.name}")
    return method(model, forget, retain, rng=draws, gone=gone, **more)


def trained(
    bench: Bench, split: Split | None, purpose: str, *, seed: int | None = None
) -> nn.Module:
    """Train a new model, on all training images or without those that ``split`` forgets.

    The first is a retraining that leaves nothing out, so that both run the same code.  ``purpose``
    keeps their draws apart, and those of a reference from those of the method ``retrain``.

    Args:
        bench: data, recipe and architecture.
        split: whose forget set is left out; None: nothing is.
        purpose: "train" or "retrain".
        seed: of the weights and the order of images; by default the run's.

    """
    everything = bench.train
    forget, retain = (split.forget, split.retain) if split else (everything[:0], everything)
    with torch.random.fork_rng():  # only its device counts: training starts from ``restart``
        blank = bench.new()
    return unlearn(
        blank,
        forget,
        retain,
        method="retrain",
        purpose=purpose,
        seed=bench.config.seed if seed is None else seed,
        factory=bench.restart,
        epochs=bench.config.train_epochs,
    )


def unlearned(job: Job, original: nn.Module, *, seed: int | None = None) -> nn.Module:
    """Apply the job's method to ``original``, with the run's seed or another."""
    return unlearn(
        original,
        job.split.forget,
        job.split.retain,
        method=job.method,
        seed=job.config.seed if seed is None else seed,
        retain_fraction=job.config.retain_fraction,
        validation=job.split.validation,
        factory=job.restart,
        **job.options,
    )

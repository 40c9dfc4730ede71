"""From a model to one without the images: unlearning, and training with or without them."""

from typing import Any

import numpy as np
import torch
from torch import nn

from unsee import guarding
from unsee.draws import generator
from unsee.errors import OptionError, SplitError
from unsee.matching import fits
from unsee.methods import GIVEN, Method, find, gone_classes
from unsee.nouns import Data, Split
from unsee.preparation import Bench, Job
from unsee.training import watched
from unsee.tuning import tuned


def unlearn(
    model: nn.Module,
    forget: Data,
    retain: Data,
    *,
    method: str | Method = "snu_deep",
    seed: int = 0,
    retain_fraction: float = 0.1,
    buffer: Data | None = None,
    guard: float = 0.1,
    tune: int = 0,
    validation: Data | None = None,
    purpose: str = "unlearn",
    facts: dict[str, Any] | None = None,
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
        buffer: images to keep that a "buffer" method gets instead of such a draw.
        guard: by how much accuracy may fall on up to 500 images of ``retain``, where possible of
            those that the method is not shown; 1: as far as it likes, nothing is watched.
        tune: settings of the method to try on ``validation``, beside the options given here, which
            stay as they are; 0: none but its own.
        validation: images that the model has not seen and that no audit will look at.
        purpose: keeps draws apart where one seed serves several calls.
        facts: is filled with the options in the end, what the guard saw and what was tried.
        **more: options of the method; ``factory`` where it declares it.

    Raises:
        OptionError: if a name or value is unknown, or there is nothing to tune or to tune on.
        ModelError: if the model cannot have learned these images.
        SplitError: if the method cannot forget single images, and ``forget`` holds some; or if
            ``buffer`` holds images of ``forget``.
        DivergenceError: if a loss stops being finite.
        DamageError: if accuracy on what stays falls further than ``guard``.

    """
    method = find(method)
    fits(model, forget if len(forget) else retain)  # a training forgets nothing
    if not 0 <= retain_fraction <= 1:
        raise OptionError(f"Expected a retain_fraction in 0..1, got {retain_fraction}")
    if tune < 0:
        raise OptionError(f"Expected 0 or more settings to tune, got {tune}")
    if buffer is not None and (both := {*buffer.ids.tolist()} & {*forget.ids.tolist()}):
        raise SplitError(
            f"Expected a buffer of images that stay, got {len(both)} that are to be forgotten, "
            f"such as {sorted(both)[:3]}: leave them out"
        )
    stays = [retain] if buffer is None else [retain, buffer]
    if buffer is not None and not len(retain):
        retain = buffer  # all that is left, to be watched as well
    given: dict[str, Any] = {"gone": gone_classes(forget, *stays), "validation": validation}
    given |= {name: more.pop(name) for name in GIVEN if name in more}
    options = method.chosen(more)  # those in ``more`` are fixed, the others may be tuned
    shown, others = _shown(retain, method, retain_fraction, buffer, seed)
    drawn = retain_fraction if buffer is None else None
    advice = guarding.advice(method, options, drawn, tune)
    start = guarding.over(model, others, retain, allowed=guard, advice=advice)
    guards: list[guarding.Guard] = []

    def attempt(changed: dict[str, Any]) -> nn.Module:
        own = start and start.again()
        guards.extend([own] if own else [])
        with watched(None if method.needs("factory") else own):  # who starts anew begins at chance
            draws = generator(seed, f"{purpose}/{method.name}")
            done = method(model, forget, shown, rng=draws, **given, **options | changed)
        if own:
            own.judge(done)
        return done

    tried: dict[str, Any] = {}
    chosen = 0
    if not tune:
        done = attempt({})
    else:
        done, tried = tuned(
            attempt,
            model,
            options,
            method.searched(more),
            trials=tune,
            forget=forget,
            validation=validation,
            gone=given["gone"],
            seed=seed,
            advice=advice,
        )
        chosen = tried["chosen"]
        options |= tried["trials"][chosen]["options"]
    if facts is not None:
        seen = guards[chosen].facts() if guards else {}
        facts |= {"options": options, "guard": seen, "tuning": tried}
    return done


def _shown(
    retain: Data, method: Method, fraction: float, buffer: Data | None, seed: int
) -> tuple[Data, Data]:
    """Return what a method is shown of the images that stay, and some others, in random order."""
    order = torch.randperm(len(retain), generator=generator(seed, "buffer"))
    some = guarding.LOOKED_AT
    if method.data == "buffer" and buffer is not None:
        inside = {*buffer.ids.tolist()}
        others = retain[order[: some + len(buffer)].numpy()]
        return buffer, others[np.array([x not in inside for x in others.ids.tolist()], np.bool_)]
    n = round({"all": 1.0, "forget": 0.0, "buffer": fraction}[method.data] * len(retain))
    others = retain[order[n : n + some].numpy()]
    return retain if n == len(retain) else retain[order[:n].numpy()], others


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
        guard=1,  # what starts anew has nothing to lose
        purpose=purpose,
        seed=bench.config.seed if seed is None else seed,
        factory=bench.restart,
        epochs=bench.config.train_epochs,
    )


def unlearned(
    job: Job, original: nn.Module, *, seed: int | None = None, facts: dict[str, Any] | None = None
) -> nn.Module:
    """Apply the job's method to ``original``, with the run's seed or another.

    ``facts`` is filled as by :func:`unlearn`.
    """
    asked: dict[str, Any] = dict(job.config.options)
    return unlearn(
        original,
        job.split.forget,
        job.split.retain,
        method=job.method,
        seed=job.config.seed if seed is None else seed,
        retain_fraction=job.config.retain_fraction,
        buffer=job.shown,
        gone=job.split.gone,
        guard=job.config.guard,
        tune=job.config.tune,
        validation=job.split.validation,
        factory=job.restart,
        facts=facts,
        **asked,
    )

"""The whole story: data -> split -> original -> unlearned (-> retrained) -> views -> run."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unsee import events
from unsee.accounting import described, environment, forgotten, measured, totals
from unsee.audits import AUDITS, Audit
from unsee.data import as_floats
from unsee.errors import OptionError
from unsee.explanation import look_closely, pictures
from unsee.folder import Begun, Facts, Folder, load_run, opened, pack_arrays, write
from unsee.methods import Method, find, gone_classes
from unsee.models import Checkpoint, output_layer, pack, pack_pt, read
from unsee.nouns import Config, Data, Measurement, Measurements, Run, Seen, Split, View
from unsee.preparation import Bench, Job, prepare
from unsee.reporting import figures, page, redacted
from unsee.training import device_of, predict

MAPPED = 256  # images of each kind whose maps are compared
Samples = dict[str, tuple[Data, NDArray[np.int64]]]  # of forget and retain: the data, the rows


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator for one purpose alone: a new audit leaves all other draws as they were."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


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


def look(name: str, model: nn.Module, split: Split, samples: Samples) -> View:
    """See all data once, for all audits; and a sample of it closely, for the maps."""
    forget, retain, test = (predict(model, d) for d in (split.forget, split.retain, split.test))
    maps = look_closely(model, *(data[rows] for data, rows in samples.values()))
    if not split.gone:
        return View(name, model, forget, retain, test, test, maps)
    kin = torch.isin(test.labels, torch.tensor(split.gone))
    unseen, rest = (Seen(test.labels[i], test.logits[i], test.features[i]) for i in (kin, ~kin))
    return View(name, model, forget, retain, unseen, rest, maps)


def audit(
    split: Split,
    *,
    original: nn.Module,
    unlearned: nn.Module,
    retrained: nn.Module | None = None,
    seed: int = 0,
    audits: Mapping[str, Audit] = AUDITS,
    **facts: Any,
) -> Run:
    """Ask every audit about every model, with the same draws for each.

    Args:
        split: what was to go and what to stay, as the unlearning had it.
        original: before.
        unlearned: after.
        retrained: trained without the forget set, if there is such a model.
        seed: of every draw.
        audits: which to ask, by name.
        **facts: what else the run should record: fields of :class:`unsee.Run`.

    """
    given = {"original": original, "unlearned": unlearned, "retrained": retrained}
    samples: Samples = {}
    for part in ("forget", "retain"):
        data, draws = getattr(split, part), generator(seed, f"maps/{part}")
        samples[part] = data, torch.randperm(len(data), generator=draws)[:MAPPED].numpy()
    views = {
        name: look(name, model, split, samples)
        for name, model in given.items()
        if model is not None
    }
    arrays = pictures(samples, views)
    measurements: dict[str, Measurements] = {name: {} for name in views}
    for name, view in views.items():
        for key, ask in audits.items():
            draws = generator(seed, key)
            beside = views["original"], views.get("retrained")
            answer = ask(view, original=beside[0], retrained=beside[1], split=split, rng=draws)
            for called, value in answer.items():
                if value is None or isinstance(value, Measurement):
                    measurements[name][called] = value
                else:
                    arrays[f"{name}/{called}"] = value
    maps = views["original"].maps
    notes = (*facts.pop("notes", ()), *_unasked(views["original"], split))
    first = as_floats(split.forget.take(torch.arange(1)).to(device_of(original)))
    return Run(
        data=described(split),
        forget=forgotten(split),
        measurements=measurements,
        environment=environment(device_of(original)),
        seed=seed,
        output_layer=output_layer(original, first),
        explained_layer=None if maps is None else maps.layer,
        notes=notes,
        arrays=arrays,
        **facts,
    )


def _unasked(view: View, split: Split) -> list[str]:
    """Say for which questions there are no test images."""
    names = [split.classes[number] for number in split.gone]
    kinds = {f"of the forgotten {names}": view.unseen, "of the classes that stay": view.test}
    return [
        f"there are no test images {kind}: what is asked about them is left open"
        for kind, seen in kinds.items()
        if not len(seen.labels)
    ]


def run(config: Config, folder: Path, *, begun: Begun = "continue") -> Run:
    """Do what ``config`` says, or what is left of it in ``folder``; the one path for all callers.

    Args:
        config: what to do.
        folder: where.
        begun: what to do where ``folder`` holds a run already.

    Raises:
        UnseeError: for a wrong name or input, before ``folder`` is touched.

    """
    with events.noted() as notes:
        job = prepare(config)
    with opened(folder, job.words, begun) as place:
        for message in notes:
            events.tell("warning", message=message)
        models, facts = _models(job, place)

        @cache
        def audited() -> Run:
            done = audit(
                job.split,
                original=models["original"],
                unlearned=models["unlearned"],
                retrained=models.get("retrained"),
                seed=config.seed,
                notes=tuple(notes),
                **facts,
            )
            return redacted(done) if config.redact else done

        place.stage("audit", "audit.json", lambda: (audited().to_json().encode(), {}))
        place.stage("arrays", "arrays.npz", lambda: (pack_arrays(audited().arrays), {}))
        done = load_run(folder)

        def reported() -> tuple[bytes, Facts]:
            for name, drawn in figures(done).items():
                write(place / "figures" / f"{name}.svg", drawn.encode())
            return page(done).encode(), {}

        place.stage("report", "report.html", reported)
    return done


def _models(job: Job, place: Folder) -> tuple[dict[str, nn.Module], Facts]:
    """Make or load original, unlearned and perhaps retrained model, and what they cost."""
    config, split = job.config, job.split
    costs: dict[str, Facts] = {}

    def made(
        stage: str, file: str, like: Checkpoint | None, make: Callable[[], nn.Module]
    ) -> nn.Module:
        def content() -> tuple[bytes, Facts]:
            model, cost = measured(make)
            return pack(alike(job, like, model)), cost

        costs[stage] = place.stage(stage, file, content)
        with events.noted():  # of what reading our own file tells
            stored = read(place / file)
        return job.load(stored)  # a resumed run starts from here too

    if job.given is None:
        original = made(
            "train",
            "original.safetensors",
            None,
            lambda: trained(job, None, "train"),
        )
    else:
        original = job.load(job.given)
    models = {"original": original}
    models["unlearned"] = made(
        "unlearn", "model.safetensors", job.given, lambda: unlearned(job, original)
    )
    if job.given is not None and job.given.container == "pt":
        again = alike(job, job.given, models["unlearned"])
        place.stage("container", "model.pt", lambda: (pack_pt(again), {}))
    if config.oracle == "retrain":
        models["retrained"] = made(
            "retrain",
            "retrained.safetensors",
            None,
            lambda: trained(job, split, "retrain"),
        )
    elif job.oracle is not None:
        models["retrained"] = job.load(job.oracle)
    return models, {"method": config.method, "options": job.options, **totals(costs)}


def alike(job: Job, before: Checkpoint | None, model: nn.Module) -> Checkpoint:
    """Return the weights of ``model`` as ``before`` had its own, with all that is known of them."""
    if before is None:
        return Checkpoint(model.state_dict(), job.facts)
    return replace(before.like(model), facts=job.facts)


def trained(bench: Bench, split: Split | None, purpose: str) -> nn.Module:
    """Train a new model, on all training images or without those that ``split`` forgets.

    The first is a retraining that leaves nothing out, so that both run the same code.
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
        seed=bench.config.seed,
        factory=bench.restart,
        epochs=bench.config.train_epochs,
    )


def unlearned(job: Job, original: nn.Module) -> nn.Module:
    """Apply the job's method to ``original``."""
    return unlearn(
        original,
        job.split.forget,
        job.split.retain,
        method=job.method,
        seed=job.config.seed,
        retain_fraction=job.config.retain_fraction,
        validation=job.split.validation,
        factory=job.restart,
        **job.options,
    )

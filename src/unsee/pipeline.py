"""The whole story: data -> split -> original -> unlearned (-> retrained) -> views -> run."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from torch import nn

from unsee import events, memory
from unsee.accounting import highest, measured, peak_memory, totals
from unsee.auditing import References, audit as audit, look as look
from unsee.draws import generator as generator
from unsee.erasure import trained, unlearn as unlearn, unlearned
from unsee.fleets import fleet_answers, reference_values
from unsee.folder import CONFIG, Begun, Facts, Folder, load_run, opened, pack_arrays, write
from unsee.methods import own_digest
from unsee.models import Checkpoint, pack, pack_pt, read
from unsee.nouns import Config, Run
from unsee.preparation import Job, prepare
from unsee.reporting import figures, page, pictures_of, redacted


def run(config: Config, folder: str | Path, *, begun: Begun = "continue", jobs: int = 0) -> Run:
    """Do what ``config`` says, or what is left of it in ``folder``; the one path for all callers.

    Args:
        config: what to do.
        folder: where.
        begun: what to do where ``folder`` holds a run already.
        jobs: processes that measure a fleet of retrained models; 0: one a core.

    Raises:
        UnseeError: for a wrong name or input, before ``folder`` is touched.

    """
    folder = Path(folder)
    with events.noted() as notes:
        job = prepare(config)
    with opened(folder, _words(job), begun) as place, memory.watching():
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
                audits=job.audits,
                audit_retain=config.audit_retain,
                policy=job.policy,
                references=_references(job, place, jobs),
                notes=tuple(notes),
                **facts,
            )
            done = _image_by_image(job, models["unlearned"], done)
            spent = highest(peak_memory(), vars(done))
            done = replace(done, **spent)
            return redacted(done) if config.redact else done

        place.stage("audit", "audit.json", lambda: (audited().to_json().encode(), {}))
        place.stage("arrays", "arrays.npz", lambda: (pack_arrays(audited().arrays), {}))
        done = load_run(folder)

        def reported() -> tuple[bytes, Facts]:
            drawn = pictures_of(done)
            for name, picture in figures(done, drawn).items():
                write(place / "figures" / f"{name}.svg", picture.encode())
            return page(done, drawn).encode(), {}

        place.stage("report", "report.html", reported, together=False)
    return done


def _words(job: Job) -> str:
    """Return ``config.json``: the job's words, and the digest of a method's own file."""
    code = own_digest(job.config.method)
    if code is None:
        return job.words
    record = json.loads(job.words)
    record["digests"]["method"] = code
    return json.dumps(record, indent=1, sort_keys=True)


def _models(job: Job, place: Folder) -> tuple[dict[str, nn.Module], Facts]:
    """Make or load original, unlearned and perhaps retrained model, and what they cost."""
    config, split = job.config, job.split
    costs: dict[str, Facts] = {}
    told: Facts = {}  # by the unlearning: its options, what guard and tuning saw

    def made(
        stage: str,
        file: str,
        like: Checkpoint | None,
        make: Callable[[], nn.Module],
        more: Facts | None = None,
    ) -> nn.Module:
        def content() -> tuple[bytes, Facts]:
            model, cost = measured(make)
            return pack(alike(job, like, model)), cost | (more or {})

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
        "unlearn",
        "model.safetensors",
        job.given,
        lambda: unlearned(job, original, facts=told),
        told,
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
    told = {name: costs["unlearn"][name] for name in ("options", "guard", "tuning")}  # as stored
    kept = job.buffer.facts(split) if job.buffer else {}
    return models, {"method": config.method, "buffer": kept, **told, **totals(costs)}


def _references(job: Job, place: Folder, jobs: int) -> list[References]:
    """Measure the retrained models of a fleet but the first, each once, side by side."""
    if len(job.oracles) < 2:
        return []
    own = place / "original.safetensors"
    original = Path(job.config.model) if job.config.model else own
    with events.stage("references"):
        answers = place / "references"
        oracles = [*job.oracles]
        return reference_values(job.config, original, oracles, answers, inputs=job.words, jobs=jobs)


def _image_by_image(job: Job, unlearned: nn.Module, done: Run) -> Run:
    """Add what a fleet says of single images, and what it has too few models to say."""
    folder = Path(job.config.oracle)
    if not (folder / CONFIG).is_file() or not job.oracles or "membership" not in job.audits:
        return done
    numbers, arrays, refused = fleet_answers(job, unlearned, folder)
    seeds = [int(path.stem.rpartition("-")[2]) for path in job.oracles]
    return replace(
        done,
        measurements=done.measurements | {"unlearned": done.measurements["unlearned"] | numbers},
        arrays=done.arrays | arrays,
        fleet={"k": len(job.oracles), "seeds": seeds, "refused": refused},
    )


def alike(job: Job, before: Checkpoint | None, model: nn.Module) -> Checkpoint:
    """Return the weights of ``model`` as ``before`` had its own, with all that is known of them."""
    if before is None:
        return Checkpoint(model.state_dict(), job.facts)
    return replace(before.like(model), facts=job.facts)

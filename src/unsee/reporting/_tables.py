"""The tables of the page: rows of words, made from the numbers of a run."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np

from unsee.nouns import Measurement, Run
from unsee.reporting._measures import MEASURES, measure, named, place, reference
from unsee.reporting._safety import safety
from unsee.reporting._style import (
    CONTROL,
    MISSING,
    Kind,
    count,
    duration,
    found,
    interval,
    models,
    number,
)
from unsee.reporting._words import ratio

STAGES = {"train": "Training the original", "unlearn": "Unlearning", "retrain": "Retraining"}
AVERAGES = ("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps")
Row = tuple[str, ...]


def measurements(run: Run) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return all measurements in reading order, each group with its heading."""
    every = dict.fromkeys(n for model in models(run) for n in run.measurements[model])
    known = [name for name in MEASURES if name in every]
    names = known + sorted(n for n in every if n not in MEASURES and "/" not in n)
    rows = table(run, names)
    return [(group, [*some]) for group, some in groupby(rows, lambda row: row["about"].group)]


def table(run: Run, names: Iterable[str], *, control: bool = False) -> list[dict[str, Any]]:
    """Return one row per measurement that any model has, with a cell for each model."""
    rows = []
    present = [*models(run), *([CONTROL] if control and CONTROL in run.measurements else [])]
    for name in names:
        known = measure(name)
        cells = [found(run, model, name) for model in present]
        if any(cells):
            rows.append(
                {
                    "about": known,
                    "key": name,
                    "cells": [
                        _cell(m, known.kind, named(run, model, name))
                        for model, m in zip(present, cells, strict=True)
                    ],
                    "reference": reference(run, name),
                }
            )
    return rows


def _cell(m: Measurement | None, kind: Kind, called: str) -> Row | None:
    if m is None:
        return None
    return number(m.value, kind), interval(m, kind), count(m.n), called.replace("_", " ")


def references(run: Run) -> list[Row]:
    """Return mean, least and largest of every measurement over the retrained models."""
    rows = []
    for name in sorted(run.references, key=place):
        values = [x for x in run.references[name] if x is not None]
        if len(values) > 1:
            head, _, tail = name.partition("/")
            kind = measure(head).kind
            title = measure(head).title + (f": {tail}" if tail else "")
            numbers = (float(np.mean(values)), min(values), max(values))
            written = (number(x, kind) for x in numbers)
            rows.append((title, *written, number(float(np.std(values, ddof=1)), kind), name))
    return rows


def costs(run: Run) -> list[Row]:
    """Return time, image gradients and rate of each stage."""
    return [
        (
            title,
            duration(run.seconds.get(stage)),
            count(run.image_gradients.get(stage)),
            count(run.images_per_second.get(stage)),
        )
        for stage, title in STAGES.items()
    ]


def ratios(run: Run) -> Row:
    """Return retraining over unlearning."""
    fast, slow = (run.image_gradients.get(stage) for stage in ("unlearn", "retrain"))
    times = ratio(run)
    return (
        "Retraining ÷ unlearning",
        MISSING if times is None else f"{times:.1f} ×",
        f"{slow / fast:.1f} ×" if fast and slow else MISSING,
        "",
    )


def settings(run: Run) -> list[tuple[str, str]]:
    """Return what a reader needs to do it again."""
    counts = run.data.get("counts") or {}
    options = ", ".join(f"{key}={value}" for key, value in sorted(run.options.items()))
    policy = run.verdict.get("policy") or {}
    margins = ", ".join(
        f"{key} {value:g}" for key, value in sorted(policy.get("margins", {}).items())
    )
    facts = {
        "Data": run.data.get("name"),
        "Images": ", ".join(f"{part} {number_:,}" for part, number_ in counts.items()),
        "Classes": len(run.data.get("classes") or ()) or None,
        "Data fingerprint (SHA-256)": run.data.get("fingerprint"),
        "Forget rule": run.forget.get("rule"),
        "Images to forget": run.forget.get("count"),
        "Digest of their ids (keyed)": run.forget.get("ids_digest"),
        "Method": run.method,
        "Options": options,
        "Seed": run.seed,
        "Output layer": run.output_layer,
        "Explained layer": run.explained_layer,
    }
    judged = {
        "Policy": policy.get("name"),
        "Policy (SHA-256)": policy.get("sha256"),
        "Family level": policy.get("family_level"),
        "Margins": margins,
        "Retrained models": run.fleet.get("k") or run.verdict.get("k"),
        "Their seeds": ", ".join(map(str, run.fleet.get("seeds", ()))),
    }
    if run.buffer:
        facts["Buffer"] = (
            f"{run.buffer['images']:,} of {run.buffer['training_images']:,} training images, "
            f"picked by {run.buffer['pick']} when the model was trained"
        )
    facts |= dict(safety(run.guard, run.tuning))
    facts |= {key: value for key, value in judged.items() if value}
    return [(key, MISSING if v is None or v == "" else str(v)) for key, v in facts.items()]

"""The page: what each part of the template is given."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from unsee.folder import write
from unsee.nouns import Measurement, Run
from unsee.reporting._classes import accuracies, answers, chosen
from unsee.reporting._losses import losses
from unsee.reporting._maps import grids, native
from unsee.reporting._measures import MEASURES, measure, reference
from unsee.reporting._redact import REDACTED, redacted
from unsee.reporting._strip import panels
from unsee.reporting._style import (
    FEW,
    MISSING,
    count,
    duration,
    interval,
    models,
    number,
    printable,
)
from unsee.reporting._svg import Picture
from unsee.reporting._words import asked, ratio, result

STAGES = {"train": "Training the original", "unlearn": "Unlearning", "retrain": "Retraining"}
AVERAGES = ("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps")
Row = tuple[str, ...]


def page(run: Run) -> str:
    """Return one HTML page that needs nothing else: no script, no font, no request.

    Shows the forgotten images, where the run has them: see :func:`redacted`.
    """
    return _template().render(
        run=run,
        result=result(run),
        asked=asked(run),
        models=models(run),
        panels=panels(run),
        classes=accuracies(run),
        few=_few(run),
        only_some=chosen(run)[1],
        answers=answers(run),
        losses=losses(run),
        maps=grids(run, "map"),
        answer_maps=grids(run, "answer_map"),
        native=native(run),
        averages=_table(run, AVERAGES),
        costs=_costs(run),
        ratio=_ratios(run),
        peak=MISSING if run.peak_memory is None else f"{run.peak_memory / 2**30:.2f} GiB",
        table=_table(run, _names(run)),
        settings=_settings(run),
        environment=[(key, str(value)) for key, value in sorted(run.environment.items())],
        notes=[note for note in run.notes if note != REDACTED],
        redacted=REDACTED in run.notes,
        shown=len(run.arrays.get("pictures/forget/images", ())),
    )


def report(run: Run, path: str | Path, *, redact: bool = False) -> Path:
    """Write the page of a run to a file, whole or not at all.

    Args:
        run: as :func:`unsee.run` or :func:`unsee.audit` returned it, or read from a folder.
        path: of the HTML file.
        redact: leave out every forgotten image and id, so that others may see the page.

    Returns:
        The path.

    Raises:
        StorageError: if the disk refuses; the file is as it was.

    """
    path = Path(path)
    write(path, page(redacted(run) if redact else run).encode())
    return path


@cache
def _template() -> Template:
    here = files("unsee.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: here.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda x: x if isinstance(x, Markup) or callable(x) else printable(x),
    )
    environment.filters["svg"] = _svg
    css = here.joinpath("page.css").read_text(encoding="utf-8")
    environment.globals["css"] = Markup(css)  # our own file, not data
    return environment.get_template("page.html.jinja")


def _svg(picture: Picture) -> Markup:
    """Return a drawing as it is: Sheet has escaped every word in it."""
    return Markup(picture.svg)


def _few(run: Run) -> bool:
    per_class = (m for name, m in run.measurements.get("unlearned", {}).items() if "/" in name)
    return any(m is not None and m.n < FEW for m in per_class)


def _names(run: Run) -> list[str]:
    """Return the measurements in reading order, those of single classes apart."""
    every = dict.fromkeys(n for model in models(run) for n in run.measurements[model])
    known = [name for name in MEASURES if name in every]
    return known + sorted(n for n in every if n not in MEASURES and "/" not in n)


def _table(run: Run, names: Any) -> list[dict[str, Any]]:
    """Return one row per measurement that any model has, with a cell for each model."""
    rows = []
    for name in names:
        known = measure(name)
        cells = [run.measurements[model].get(name) for model in models(run)]
        if any(cells):
            rows.append(
                {
                    "about": known,
                    "key": name,
                    "cells": [_cell(m, known.kind) for m in cells],
                    "reference": reference(run, name),
                }
            )
    return rows


def _cell(m: Measurement | None, kind: Any) -> Row | None:
    if m is None:
        return None
    return number(m.value, kind), interval(m, kind), count(m.n)


def _costs(run: Run) -> list[Row]:
    return [
        (
            title,
            duration(run.seconds.get(stage)),
            count(run.image_gradients.get(stage)),
            count(run.images_per_second.get(stage)),
        )
        for stage, title in STAGES.items()
    ]


def _ratios(run: Run) -> Row:
    fast, slow = (run.image_gradients.get(stage) for stage in ("unlearn", "retrain"))
    times = ratio(run)
    return (
        "Retraining ÷ unlearning",
        MISSING if times is None else f"{times:.1f} ×",
        f"{slow / fast:.1f} ×" if fast and slow else MISSING,
        "",
    )


def _settings(run: Run) -> list[tuple[str, str]]:
    """Return what a reader needs to do it again."""
    counts = run.data.get("counts") or {}
    options = ", ".join(f"{key}={value}" for key, value in sorted(run.options.items()))
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
    return [(key, MISSING if v is None or v == "" else str(v)) for key, v in facts.items()]

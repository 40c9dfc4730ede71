"""Runs side by side: verdicts, main measurements, and differences image by image."""

from collections.abc import Sequence
from dataclasses import dataclass

from unsee.errors import OptionError
from unsee.nouns import Measurement, Run
from unsee.reporting._measures import measure
from unsee.reporting._paired import Difference, differences, same_images
from unsee.reporting._style import Kind, duration, found, interval, number, points
from unsee.reporting._template import template
from unsee.reporting._verdict import light
from unsee.reporting._words import asked, result

MAIN = (
    *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    *("membership_auc", "membership_strongest", "membership_tpr", "probe_recall"),
    *("few_shot_recall", "stage_probe_recall", "knn_purity", "recovery_recall"),
    *("relearn_recall", "evidence_remaining", "displacement", "js_distance", "tug_of_war"),
)
TITLES = {"forget_loss": "Mean loss of forgotten images"}
FIRST = ("original", "retrained")  # models of the first run that stand beside


@dataclass(frozen=True)
class Beside:
    """One run of a comparison, and what tells it from the first."""

    name: str
    run: Run
    why: str  # there are no paired differences; "" where there are some
    differences: tuple[Difference, ...]


def compare(runs: Sequence[Run], names: Sequence[str] = ()) -> str:
    """Return one HTML page with runs side by side: no script, no request.

    Args:
        runs: two or more, the one to hold the others against first.
        names: what to call each; else "run 1" and so on.

    Raises:
        OptionError: if it is not a list of two runs or more, or there are other names than runs.

    """
    if isinstance(runs, Run) or len(runs) < 2:
        got = "one run" if isinstance(runs, Run) else f"{len(runs)} of them"
        raise OptionError(
            f"Expected a list of two runs or more, got {got}: compare([first, other])"
        )
    if names and len(names) != len(runs):
        raise OptionError(f"Expected a name for each of {len(runs)} runs, got {len(names)}")
    many = beside(runs, names)
    first = runs[0]
    kept = [model for model in FIRST if model in first.measurements]
    return template("compare.html.jinja").render(
        columns=[*(f"{model} ({many[0].name})" for model in kept), *(b.name for b in many)],
        kept=len(kept),
        runs=[(b, result(b.run), light(b.run), asked(b.run), _cost(b.run)) for b in many],
        rows=_rows(first, kept, many),
        others=[(b, [_difference(d) for d in b.differences]) for b in many[1:]],
        paired=any(b.differences for b in many[1:]),
        first=many[0].name,
    )


def beside(runs: Sequence[Run], names: Sequence[str] = ()) -> list[Beside]:
    """Return the runs with their paired differences from the first."""
    called = list(names) or [f"run {n + 1}" for n in range(len(runs))]
    first, made = runs[0], []
    for n, (name, run) in enumerate(zip(called, runs, strict=True)):
        why = same_images(first, run) if n else ""
        paired = tuple(differences(first, run)) if n and not why else ()
        if n and not why and not paired:
            why = "what was measured on each image is not kept in one of them"
        made.append(Beside(name, run, why, paired))
    return made


def title(name: str) -> tuple[str, Kind]:
    """Return the title of a measurement or of a difference, and how its values are written."""
    return (TITLES[name], "number") if name in TITLES else (measure(name).title, measure(name).kind)


def changed(m: Measurement, kind: Kind) -> tuple[str, str]:
    """Write a difference with its sign, and its interval."""
    if kind == "share":
        low, high = (points(x).removesuffix(" points") for x in (m.low, m.high))
        return points(m.value), f"{low} to {high}"
    signs = ("+" if x > 0 else "" for x in (m.value, m.low, m.high))
    value, low, high = (
        f"{s}{number(x)}" for s, x in zip(signs, (m.value, m.low, m.high), strict=True)
    )
    return value, f"{low} to {high}"


def _difference(d: Difference) -> tuple[str, ...]:
    name, kind = title(d.name)
    apart = "yes" if d.measured.low > 0 or d.measured.high < 0 else "no"
    return (name, *changed(d.measured, kind), f"{d.measured.n:,}", apart, d.how)


def _rows(
    first: Run, kept: list[str], many: list[Beside]
) -> list[tuple[str, list[tuple[str, str] | None]]]:
    rows = []
    for name in MAIN:
        cells = [found(first, model, name) for model in kept]
        cells += [found(b.run, "unlearned", name) for b in many]
        if any(cells):
            kind = measure(name).kind
            written = [(number(m.value, kind), interval(m, kind)) if m else None for m in cells]
            rows.append((measure(name).title, written))
    return rows


def _cost(run: Run) -> str:
    spent = run.seconds.get("unlearn")
    return "time not recorded" if spent is None else f"unlearned in {duration(spent)}"

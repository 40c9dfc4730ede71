"""From cells to rows: means and intervals over seeds, and which methods cannot be told apart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, ttest_1samp

from unsee.benchmark._results import CONTROLS, Record, gap, half, is_unsuited, value

DRAWS, LEVEL = 2000, 0.05
Distances = NDArray[np.float64]  # of one seed: one per image


@dataclass(frozen=True)
class Column:
    """One figure of the table."""

    name: str
    title: str
    of: Callable[[Record], float | None]
    places: int = 3
    measurement: str = ""  # whose own interval stands in where there is one seed


def _measured(name: str, title: str) -> Column:
    return Column(name, title, lambda record: value(record, name), measurement=name)


COLUMNS = (
    Column("js_distance", "JS", lambda r: value(r, "js_distance"), measurement="js_distance"),
    _measured("forget_accuracy", "forget"),
    _measured("retain_accuracy", "retain"),
    _measured("test_accuracy", "test"),
    _measured("forgotten_test_accuracy", "test, gone"),
    _measured("membership_auc", "AUC"),
    Column("membership_gap", "AUC gap", gap),
    _measured("probe_recall", "probe"),
    _measured("few_shot_recall", "few-shot"),
    _measured("relearn_recall", "relearn"),
    _measured("evidence_remaining", "evidence"),
    Column("seconds", "seconds", lambda r: r.get("seconds"), 1),
    Column("image_gradients", "gradients", lambda r: r.get("image_gradients"), 0),
    Column("retain_share", "retain used", lambda r: r.get("retain_share"), 2),
)
RANKED = COLUMNS[0]


@dataclass(frozen=True)
class Figure:
    """A mean over ``n`` seeds; ``half`` is half its 95 % interval, None where there is none."""

    value: float
    half: float | None
    n: int
    each: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """One method, control or reference on one rule of one data set."""

    data: str
    forget: str
    method: str
    kind: str  # reference, control, or what of the images that stay it is shown
    figures: dict[str, Figure] = field(default_factory=dict)
    seeds: int = 0  # asked for
    failed: tuple[str, ...] = ()  # reasons
    unsuited: bool = False  # it is not for such a rule, and was not asked
    place: str = ""  # best, tied, or none of these
    p: float | None = None  # adjusted, against the best

    @property
    def n(self) -> int:
        """Seeds behind it."""
        return self.seeds - len(self.failed)


def mean(values: Sequence[float], alone: float | None = None) -> Figure:
    """Return the mean over seeds with Student's interval; of one seed, with the half given.

    >>> mean([1.0, 2.0, 3.0]).half
    2.484...
    """
    n = len(values)
    middle = math.fsum(values) / n
    if n == 1:
        return Figure(middle, alone, 1, tuple(values))
    spread = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Figure(middle, float(t.ppf(0.975, n - 1)) * spread, n, tuple(values))


def tables(records: Sequence[Record]) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of every data set and rule: references, controls, methods by distance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["cell"]["data"], record["cell"]["forget"]), []).append(record)
    return {group: _rows(*group, some) for group, some in groups.items()}


def _rows(data: str, forget: str, records: list[Record]) -> list[Row]:
    by: dict[str, list[Record]] = {}
    for record in records:
        by.setdefault(record["cell"]["method"], []).append(record)
    rows = [_row(data, forget, method, some) for method, some in by.items()]
    places = ranked({m: _apart(some) for m, some in by.items() if m not in CONTROLS})
    for number, row in enumerate(rows):
        if row.method in places:
            place, p = places[row.method]
            rows[number] = Row(**{**vars(row), "place": place, "p": p})
    controls = sorted((r for r in rows if r.kind == "control"), key=lambda r: r.method)
    methods = sorted((r for r in rows if r.kind != "control"), key=_distance)
    return [*_references(data, forget, records), *controls, *methods]


def _distance(row: Row) -> tuple[float, str]:
    found = row.figures.get(RANKED.name)
    return (found.value if found else math.inf, row.method)


def _row(data: str, forget: str, method: str, records: list[Record]) -> Row:
    done = [record for record in records if not record["failed"]]
    reasons = tuple(record["failed"] for record in records if record["failed"])
    kind = "control" if method in CONTROLS else records[0]["shown"]
    if reasons and all(map(is_unsuited, reasons)):
        return Row(data, forget, method, kind, unsuited=True)
    return Row(data, forget, method, kind, _figures(done), len(records), reasons)


def _figures(records: list[Record]) -> dict[str, Figure]:
    found = {}
    for column in COLUMNS:
        values = [x for record in records if (x := column.of(record)) is not None]
        if values:
            alone = half(records[0], column.measurement) if column.measurement else None
            found[column.name] = mean(values, alone)
    return found


def _references(data: str, forget: str, records: list[Record]) -> list[Row]:
    """Return the original and the retrained model as rows: the same for every method of a seed."""
    first: dict[int, Record] = {}
    for record in records:
        if not record["failed"]:
            first.setdefault(record["cell"]["seed"], record)
    rows = []
    for model, stage in (("original", "train"), ("retrained", "retrain")):
        seen = [_as_if_unlearned(r, model, stage) for r in first.values() if model in r["models"]]
        if seen:
            rows.append(Row(data, forget, model, "reference", _figures(seen), len(seen)))
    return rows


def _as_if_unlearned(record: Record, model: str, stage: str) -> Record:
    models = record["models"]
    cost = record.get("reference", {}).get(stage) or {}
    return {
        "models": {"unlearned": models[model], "retrained": models.get("retrained", {})},
        "seconds": cost.get("seconds"),
        "image_gradients": cost.get("image_gradients"),
        "retain_share": 1.0,
    }


def _apart(records: list[Record]) -> dict[int, Distances]:
    """Return each forgotten image's distance, by seed."""
    done = (record for record in records if not record["failed"] and record["apart"])
    return {r["cell"]["seed"]: np.asarray(r["apart"], np.float64) for r in done}


def ranked(apart: dict[str, dict[int, Distances]]) -> dict[str, tuple[str, float | None]]:
    """Say which method is nearest to retraining, and which cannot be told from it.

    Of the methods that finished every seed the one of the smallest mean distance is the best.  The
    others are compared with it by :func:`paired_p`; p-values are adjusted by Holm, and above 0.05 a
    method is tied.

    Args:
        apart: by method and seed, the distance of every forgotten image.

    Returns:
        Of the methods that can be compared, two at least: best, tied or "", and the adjusted p.

    """
    most = max((len(seeds) for seeds in apart.values()), default=0)
    whole = {method: seeds for method, seeds in apart.items() if most and len(seeds) == most}
    if len(whole) < 2 or most == 2:  # one is nobody's rival; two differences have no spread
        return {}
    middle = {m: float(np.mean([x.mean() for x in seeds.values()])) for m, seeds in whole.items()}
    best = min(middle, key=lambda method: (middle[method], method))
    others = [method for method in whole if method != best]
    raw = [paired_p(*_both(whole[best], whole[method])) for method in others]
    places: dict[str, tuple[str, float | None]] = {best: ("best", None)}
    for method, p in zip(others, holm(raw), strict=True):
        places[method] = ("tied" if p > LEVEL else "", p)
    return places


def _both(
    first: dict[int, Distances], second: dict[int, Distances]
) -> tuple[list[Distances], list[Distances]]:
    seeds = [s for s in sorted(first) if s in second and len(first[s]) == len(second[s])]
    return [first[s] for s in seeds], [second[s] for s in seeds]


def paired_p(first: list[Distances], second: list[Distances]) -> float:
    """Return the two-sided p of no difference between two methods.

    Of several seeds: Student's paired t over their means, since a seed, not an image, is what
    would be drawn anew.  Of one seed there are only its images: a paired bootstrap over them, which
    says nothing of other seeds.

    Args:
        first: of each seed, one number per image.
        second: the same images of the same seeds.

    Returns:
        In 0..1.  1 where nothing can be paired.

    """
    changes = [b - a for a, b in zip(first, second, strict=True)]
    if len(changes) == 1:
        return _over_images(changes[0])
    means = np.array([change.mean() for change in changes])
    if not means.any():
        return 1.0
    if np.ptp(means) < 1e-12:  # so alike that there is no t
        return 0.0
    return float(ttest_1samp(means, 0.0).pvalue)


def _over_images(change: Distances) -> float:
    rng = np.random.default_rng(0)
    drawn = change[rng.integers(len(change), size=(DRAWS, len(change)))].mean(1)
    below, above = (1 + int(side.sum()) for side in (drawn <= 0, drawn >= 0))
    return min(1.0, 2 * min(below, above) / (DRAWS + 1))


def holm(raw: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979), in the order given.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    found: dict[int, float] = {}
    largest = 0.0
    for rank, number in enumerate(sorted(range(len(raw)), key=lambda n: raw[n])):
        largest = max(largest, min(1.0, (len(raw) - rank) * raw[number]))
        found[number] = largest
    return [found[number] for number in range(len(raw))]


def environments(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return every machine and set of versions that cells were measured with, once."""
    seen: list[dict[str, Any]] = []
    for record in records:
        if not record["failed"] and record["environment"] not in seen:
            seen.append(record["environment"])
    return seen

"""From cells to the rows of a table: references, controls, and methods by their distance."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unsee.benchmark._results import CONTROLS, Asked, Record, gap, interval, is_unsuited, value
from unsee.benchmark._statistics import Distances, Figure, mean, ranked


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
    _measured("js_distance", "JS"),
    _measured("forget_accuracy", "forget"),
    _measured("retain_accuracy", "retain"),
    _measured("test_accuracy", "test"),
    _measured("forgotten_test_accuracy", "test, kin"),
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
TIMED = "seconds"


@dataclass(frozen=True)
class Row:
    """One method, control or reference on one rule of one data set."""

    data: str
    forget: str
    method: str
    kind: str  # reference, control, or what of the images that stay it is shown
    figures: dict[str, Figure] = field(default_factory=dict)
    seeds: int = 0  # asked for
    n: int = 0  # of them finished
    failed: tuple[str, ...] = ()  # reasons
    unsuited: bool = False  # it is not for such a rule, and was not asked
    place: str = ""  # best, tied, or none of these
    p: float | None = None  # adjusted, against the best
    remarks: tuple[str, ...] = ()  # why it is not to be compared with the others
    notes: frozenset[str] | None = None  # what its runs warned of; None: it was not kept

    @property
    def missing(self) -> int:
        """Seeds that were asked for, and neither finished nor failed."""
        return 0 if self.unsuited else self.seeds - self.n - len(self.failed)


def tables(
    records: Sequence[Record], asked: Asked | None = None
) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of every data set and rule: references, controls, methods by distance.

    Args:
        records: of cells.
        asked: what the grid asks for; None: what there is, and nothing is missing.

    """
    groups: dict[tuple[str, str], list[Record]] = {}
    called = {each["name"]: each for each in (asked.cells if asked else ())}
    for record in records:
        name = record["cell"]["name"]
        words = called[name] if name in called else record["cell"]  # a list of ids may have moved
        groups.setdefault((words["data"], words["forget"]), []).append(record)
    for each in asked.cells if asked else ():
        groups.setdefault((each["data"], each["forget"]), [])  # perhaps nothing of it is there
    return {
        group: _rows(*group, some, asked.of(*group) if asked else None)
        for group, some in groups.items()
    }


def _rows(
    data: str, forget: str, records: list[Record], asked: list[Record] | None = None
) -> list[Row]:
    wanted = [record["cell"] for record in records] if asked is None else asked
    by: dict[str, list[Record]] = {each["method"]: [] for each in wanted}
    for record in records:
        by.setdefault(record["cell"]["method"], []).append(record)
    settings = None if asked is None else {x["name"]: x["settings"] for x in asked}
    names: dict[str, set[str]] = {m: {x["cell"]["name"] for x in some} for m, some in by.items()}
    for each in wanted:
        names[each["method"]].add(each["name"])
    unlike, held = _unlike(by, settings), _held_out(by)
    rows = [
        replace(_row(data, forget, m, some, len(names[m])), remarks=(*unlike[m], *held[m]))
        for m, some in by.items()
    ]
    whole = not any(row.missing for row in rows)
    if whole and not any(_of_other_settings(some, settings) for some in by.values()):
        alike = {m: _apart(x) for m, x in by.items() if m not in CONTROLS and not unlike[m]}
        places = ranked(alike, {each["seed"] for each in wanted})
        unplaced: tuple[str, float | None] = ("", None)
        ranks = [places.get(row.method, unplaced) for row in rows]
        rows = [replace(r, place=place, p=p) for r, (place, p) in zip(rows, ranks, strict=True)]
    controls = sorted((r for r in rows if r.kind == "control"), key=lambda r: r.method)
    methods = sorted((r for r in rows if r.kind != "control"), key=_distance)
    usual = [r for m, some in by.items() if not (unlike[m] or held[m]) for r in some]
    return [*_references(data, forget, usual or records), *controls, *methods]


def _unlike(
    by: dict[str, list[Record]], settings: dict[str, str] | None
) -> dict[str, tuple[str, ...]]:
    """Say of every method why its figures cannot be ranked with those of the others."""
    usual = _usual(by, _models)
    found = {}
    for method, some in by.items():
        told = []
        if odd := _of_other_settings(some, settings):
            told.append(
                f"{len(odd)} of its cells are of other settings than the grid's, and nothing is "
                "ranked before they are measured again"
            )
        if stray := [r for r in some if settings is not None and r["cell"]["name"] not in settings]:
            told.append(f"{len(stray)} of its cells are not the grid's")
        other = {r["cell"]["seed"] for r in _done(some) if _models(r) != usual[r["cell"]["seed"]]}
        if other:
            told.append(
                f"measured beside other models (seeds {', '.join(map(str, sorted(other)))})"
            )
        found[method] = tuple(told)
    return found


def _of_other_settings(some: list[Record], settings: dict[str, str] | None) -> list[Record]:
    """Return the cells that the grid asks for otherwise than they were measured."""
    return [
        r
        for r in some
        if settings is not None
        and settings.get(r["cell"]["name"], r.get("settings")) != r.get("settings")
    ]


def _held_out(by: dict[str, list[Record]]) -> dict[str, tuple[str, ...]]:
    """Say of every method whether it was audited on other test images than most."""
    usual = _usual(by, _tested)
    found = {}
    for method, some in by.items():
        odd = [r for r in _done(some) if _tested(r) != usual[r["cell"]["seed"]]]
        told = [
            f"audited on {_tested(r)} test images, others on {usual[r['cell']['seed']]}: the rest "
            "was held out, for it or its tuning to look at"
            for r in odd[:1]
        ]
        found[method] = tuple(told)
    return found


def _done(records: list[Record]) -> list[Record]:
    return [record for record in records if not record["failed"]]


def _models(record: Record) -> str:
    """Name the original and the retrained model that a cell was measured beside."""
    return json.dumps(record.get("digests"), sort_keys=True)


def _tested(record: Record) -> str:
    return str(record.get("counts", {}).get("test"))


def _usual(by: dict[str, list[Record]], of: Callable[[Record], str]) -> dict[int, str]:
    """Return by seed what most of its cells have."""
    counts: dict[int, Counter[str]] = {}
    for record in (r for some in by.values() for r in _done(some)):
        counts.setdefault(record["cell"]["seed"], Counter())[of(record)] += 1
    return {seed: count.most_common(1)[0][0] for seed, count in counts.items()}


def _distance(row: Row) -> tuple[float, str]:
    found = row.figures.get(RANKED.name)
    return (found.value if found else math.inf, row.method)


def _row(data: str, forget: str, method: str, records: list[Record], seeds: int) -> Row:
    """Return one row; ``seeds``: of the grid and of results, which may be of no cell of it."""
    done = _done(records)
    reasons = tuple(record["failed"] for record in records if record["failed"])
    kind = "control" if method in CONTROLS else records[0]["shown"] if records else "missing"
    if reasons and not done and all(map(is_unsuited, reasons)):
        return Row(data, forget, method, kind, unsuited=True)
    heard = [{*record["notes"]} for record in done if "notes" in record]
    notes = frozenset().union(*heard) if heard else None
    return Row(data, forget, method, kind, _figures(done), seeds, len(done), reasons, notes=notes)


def _figures(records: list[Record]) -> dict[str, Figure]:
    found = {}
    for column in COLUMNS:
        some = _of_one_machine(records) if column.name == TIMED else records
        values = [x for record in some if (x := column.of(record)) is not None]
        if values:
            one = next(record for record in some if column.of(record) is not None)
            alone = interval(one, column.measurement) if column.measurement else None
            found[column.name] = mean(values, alone)
    return found


def _of_one_machine(records: list[Record]) -> list[Record]:
    """Return the records of the machine that most are of: a mean of seconds of two says nothing."""
    machines = [machine_of(record) for record in records]
    usual = Counter(machines).most_common(1)
    return [r for r, found in zip(records, machines, strict=True) if found == usual[0][0]]


def machine_of(record: Record) -> str:
    """Return what a cell was computed with, in words; "": it does not say."""
    x = record.get("environment", {})
    if not x:
        return ""
    used = f" with {x['instructions']}" if "instructions" in x else ""
    return f"{x['device']}, threads a cell: {x['threads']}, {x['precision']}{used}"


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
            figures, n = _figures(seen), len(seen)
            rows.append(Row(data, forget, model, "reference", figures, n, n))
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

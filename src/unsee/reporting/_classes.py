"""Class by class: what each model gets right, and what the forgotten images are taken for now."""

from unsee.nouns import Measurement, Run
from unsee.reporting._strip import dot
from unsee.reporting._style import (
    COLOURS,
    FEW,
    class_name,
    count,
    found,
    interval,
    models,
    number,
    shortened,
)
from unsee.reporting._svg import FAINT, INK, RULE, Picture, Sheet

WIDTH, ROW, HEAD, FOOT = 400, 26, 26, 24  # pixels
LEFT, RIGHT = 98, 106  # for the names of the classes, for the values
READING = (
    "Test images; forgotten classes first, in bold, then those that lost most. The line leads from "
    "before to now: a long one in a class that stays is damage."
)
ALL, CHANGED = 24, 20  # up to so many classes are all shown; else those that changed most


def order(run: Run) -> list[str]:
    """Return the classes: the forgotten ones, then the others by what they lost."""
    names = [str(name) for name in run.data.get("classes") or ()]
    gone = {str(name) for name in run.forget.get("gone") or ()}
    return sorted(names, key=lambda name: (name not in gone, _change(run, name)))


def chosen(run: Run) -> tuple[list[str], str]:
    """Return the classes to show, and a sentence if they are not all."""
    names = order(run)
    if len(names) <= ALL:
        return names, ""
    gone = {str(name) for name in run.forget.get("gone") or ()}
    first = [name for name in names if name in gone][:CHANGED]
    rest = [name for name in names if name not in gone]
    most = {*sorted(rest, key=lambda name: -abs(_change(run, name)))[:CHANGED]}
    said = f"Of {len(names):,} classes these are shown: {_forgotten(len(first), len(gone))}"
    shown = [*first, *(name for name in rest if name in most)]
    return shown, f"{said}the {len(most)} that changed most. All are in audit.json."


def accuracies(run: Run) -> Picture | None:
    """Return the accuracy of every class before and after, as dumbbells with intervals."""
    keys = {name: f"test_accuracy/{name}" for name in chosen(run)[0]}
    names = [n for n, key in keys.items() if any(found(run, m, key) for m in models(run))]
    if not names:
        return None
    sheet = _sheet("classes", len(names), "before → now")
    axes = sheet.axes(LEFT, HEAD, WIDTH - LEFT - RIGHT, ROW * len(names))
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    _ticks(sheet, len(names))
    rows = []
    for row, name in enumerate(names):
        measured = {model: found(run, model, keys[name]) for model in models(run)}
        n = max(m.n for m in measured.values() if m)
        _label(sheet, row, name, run, f" n={n}" if n < FEW else "")
        before, after = measured.get("original"), measured.get("unlearned")
        if before and after:
            axes.plot([before.value, after.value], [row - 0.22, row], color=FAINT, lw=1)
            change = f"{100 * before.value:.1f} → {number(after.value, 'share')}"
            sheet.write(WIDTH, _middle(row), change, align="right", size=10.5)
        for model, m in measured.items():
            if m:
                offset = {"original": -0.22, "unlearned": 0.0, "retrained": 0.22}[model]
                dot(axes, m, row + offset, model, size=5)
        cells = (
            f"{number(m.value, 'share')} ({interval(m, 'share')})" if m else "–"
            for m in measured.values()
        )
        rows.append((name, *cells, f"{n:,}"))
    alt = f"Test accuracy of {len(names)} classes, forgotten first: " + ", ".join(models(run))
    head = ("class", *models(run), "n")
    warning = _warning(run, [m for name in names for m in _of(run, keys[name])])
    title, text = "Test accuracy by class", sheet.svg(alt)
    return Picture("classes", title, alt, text, head, tuple(rows), READING, warning)


def answers(run: Run) -> Picture | None:
    """Return what the forgotten images are taken for, as shares and counts."""
    counts = {m: c for m in models(run) if (c := run.arrays.get(f"{m}/forget/answers")) is not None}
    if not counts:
        return None
    totals = {model: max(int(c.sum()), 1) for model, c in counts.items()}
    taken = {
        class_name(run, k): {model: int(c[k]) for model, c in counts.items() if k < len(c)}
        for k in range(max(map(len, counts.values())))
    }
    names = _most_taken(run, taken)
    shown = {name: taken.get(name, {}) for name in names}
    if len(names) < len(taken):
        rest = [taken[name] for name in taken if name not in shown]
        shown["all other classes"] = {m: sum(r.get(m, 0) for r in rest) for m in counts}
    sheet = _sheet("answers", len(shown), "images")
    axes = sheet.axes(LEFT, HEAD, WIDTH - LEFT - RIGHT, ROW * len(shown))
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
    _ticks(sheet, len(shown))
    height = 0.72 / len(counts)
    for row, (name, given) in enumerate(shown.items()):
        _label(sheet, row, name, run)
        text = " · ".join(count(given.get(model, 0)) for model in counts)
        sheet.write(WIDTH, _middle(row), text, align="right", size=_fitting(text))
        for n, model in enumerate(counts):
            y = row + (n - (len(counts) - 1) / 2) * height
            width = given.get(model, 0) / totals[model]
            axes.barh(y, width, height=0.82 * height, color=COLOURS[model], lw=0)
    alt = "What the forgotten images are taken for by " + ", ".join(counts)
    rows = tuple(
        (
            name,
            *(
                f"{given.get(m, 0):,} ({number(given.get(m, 0) / totals[m], 'share')})"
                for m in counts
            ),
        )
        for name, given in shown.items()
    )
    head = ("taken for", *counts)
    title = "What the forgotten images are taken for"
    reading = (
        f"Training images that were to be forgotten; counts are {' · '.join(counts)}. Spread as by "
        "the retrained model: as if never seen."
    )
    warning = "All in one class is the mark of random or fixed labels, not of forgetting."
    return Picture("answers", title, alt, sheet.svg(alt), head, rows, reading, warning)


def _of(run: Run, key: str) -> list[Measurement]:
    return [m for model in models(run) if (m := found(run, model, key))]


def _warning(run: Run, measured: list[Measurement]) -> str:
    few = any(m.n < FEW for m in measured)
    return " ".join(
        said
        for said in (
            "Of many classes some fall by chance alone: bars are Wilson 95 % intervals of each.",
            few and "Classes in grey, with n, have fewer than 30 test images: their bars are wide.",
            chosen(run)[1],
        )
        if said
    )


def _most_taken(run: Run, taken: dict[str, dict[str, int]]) -> list[str]:
    """Return the order of :func:`order`; of very many classes those with the most images."""
    names = [name for name in order(run) if name in taken] or [*taken]
    if len(names) <= ALL:
        return names
    most = sorted(names, key=lambda name: -max(taken[name].values(), default=0))
    kept = {*most[:CHANGED], *[str(name) for name in run.forget.get("gone") or ()][:CHANGED]}
    return [name for name in names if name in kept]


def _change(run: Run, name: str) -> float:
    before, after = (
        found(run, model, f"test_accuracy/{name}") for model in ("original", "unlearned")
    )
    return after.value - before.value if before and after else 0.0


def _forgotten(shown: int, gone: int) -> str:
    if not gone:
        return ""
    return f"{shown} of {gone} forgotten, then " if shown < gone else "the forgotten, then "


def _sheet(name: str, rows: int, values: str) -> Sheet:
    sheet = Sheet(name, WIDTH, HEAD + ROW * rows + FOOT)
    sheet.write(WIDTH, 10, values, align="right", size=10, colour=FAINT)
    return sheet


def _middle(row: int) -> float:
    return HEAD + ROW * (row + 0.5)


def _label(sheet: Sheet, row: int, name: str, run: Run, more: str = "") -> None:
    gone = name in {str(name) for name in run.forget.get("gone") or ()}
    text = shortened(name, 14 - len(more)) + more
    weight, colour = ("bold", INK) if gone else ("normal", FAINT if more else INK)
    sheet.write(LEFT - 10, _middle(row), text, align="right", weight=weight, colour=colour)


def _ticks(sheet: Sheet, rows: int) -> None:
    span = WIDTH - LEFT - RIGHT
    for tick in (0, 25, 50, 75, 100):
        x = LEFT + span * tick / 100
        sheet.rule(x, HEAD, HEAD + ROW * rows, colour=RULE)
        if tick % 50 == 0:
            y = HEAD + ROW * rows + 12
            sheet.write(x, y, f"{tick} %", align="center", size=10, colour=FAINT)


def _fitting(text: str) -> float:
    return min(10.5, 10.5 * 17 / max(len(text), 1))

"""Rows as Markdown, as CSV, and as lines for a terminal."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import fill

from unsee.benchmark._results import Asked, Record
from unsee.benchmark._rows import COLUMNS, Column, Row, tables
from unsee.benchmark._statistics import Figure
from unsee.console import printable

WIDTH = 80
NONE = "–"
VAST = 1000  # of a figure in shares
MISSING = "cells are not there yet, and nothing is ranked before they are"
UNASKED = "for whole classes alone, and not asked"
SHORT = ("js_distance", "test_accuracy", "membership_gap", "probe_recall")  # for a terminal


def as_markdown(records: Sequence[Record], asked: Asked | None = None) -> str:
    """Return one table for every data set and rule, with what failed or is missing below it."""
    parts = []
    for (data, forget), rows in tables(records, asked).items():
        if _none_there(rows):
            parts.append(f"### {_cell(data)}, {_cell(forget)}\n\n{_none_there(rows)}")
            continue
        heads = ["method", "", "n", *(column.title for column in COLUMNS)]
        lines = [f"### {_cell(data)}, {_cell(forget)}", "", _line(heads)]
        lines.append(_line(["---", "---", "--:", *["--:"] * len(COLUMNS)]))
        for row in rows:
            figures = [_spelled(row.figures.get(c.name), c, row.n) for c in COLUMNS]
            lines.append(_line([_named(row), _marked(row), _seeds(row), *figures]))
        told = [f"* {line}" for line in _below(rows, as_code=True)]
        parts.append("\n".join([*lines, *([""] if told else []), *told]))
    return "\n\n".join(parts)


def _none_there(rows: Sequence[Row]) -> str:
    """Say that nothing of a rule was measured yet; "": something was."""
    if any(row.n or row.failed or row.unsuited for row in rows):
        return ""
    return f"None of its {sum(row.missing for row in rows)} cells is there yet."


def _named(row: Row) -> str:
    if row.kind == "reference":
        return f"*{_cell(row.method)}*"
    return f"{_cell(row.method)} (control)" if row.kind == "control" else _code(row.method)


def _marked(row: Row) -> str:
    return f"**{row.place}**" if row.place == "best" else row.place


def _seeds(row: Row) -> str:
    if row.unsuited:
        return NONE
    return f"{row.n} of {row.seeds}" if row.n != row.seeds else f"{row.n}"


def _below(rows: Sequence[Row], *, as_code: bool = False) -> list[str]:
    """Return lines on what figures do not show: who was not asked, is missing, failed or warned."""
    name, text = (_code, _cell) if as_code else (printable, str)
    found = []
    if unsuited := [name(row.method) for row in rows if row.unsuited]:
        found.append(f"{UNASKED}: {', '.join(unsuited)}")
    if missing := [name(row.method) for row in rows if row.missing]:
        found.append(f"{MISSING}: {', '.join(missing)}")
    for row in rows:
        found += [f"{name(row.method)}: {remark}" for remark in row.remarks]
        for why, times in Counter(row.failed).items():
            told = text(printable(why))
            found.append(f"{name(row.method)} failed in {times} of {row.seeds}: {told}")
    heard = [row for row in rows if row.notes is not None]
    for note in sorted({note for row in heard for note in row.notes or ()}):
        by = [row.method for row in heard if note in (row.notes or ())]
        whose = "" if len(by) == len(heard) > 1 else f"{', '.join(map(name, by))} "
        found.append(f"{whose}warned: {text(printable(note))}")
    return found


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _cell(text: str) -> str:
    """Return text that cannot end a cell, begin an element of HTML or change how it looks."""
    plain = text.replace("\n", " ").replace("<", "&lt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", plain)


def _code(name: str) -> str:
    """Return a name as code: of a function, so that nothing in it ends it."""
    return f"`{name}`"


def _spelled(found: Figure | None, column: Column, n: int) -> str:
    """Write a mean and its interval, and how many seeds are behind it where some have no figure.

    >>> _spelled(Figure(0.25, 0.125, 0.375, 5), COLUMNS[0], 5)
    '0.250 ±0.125'
    >>> _spelled(Figure(0.0, 0.0, 0.005, 1), COLUMNS[0], 1)
    '0.000 [0.000, 0.005]'
    >>> _spelled(Figure(0.25, 0.125, 0.375, 4), COLUMNS[0], 5)
    '0.250 ±0.125 (4 of 5)'
    """
    if found is None:
        return NONE
    text = _number(found.value, column)
    if found.low is not None and found.high is not None:
        if found.n == 1:  # over images, and seldom as far to both sides
            text += f" [{_number(found.low, column)}, {_number(found.high, column)}]"
        elif column.measurement or found.reach:  # else a count, the same in all seeds
            text += f" ±{_number(found.reach or 0.0, column)}"
    return text if found.n == n else f"{text} ({found.n} of {n})"


def _number(value: float, column: Column) -> str:
    """Write a number; one that is far too large for what was measured, a ratio to nearly 0, short.

    >>> _number(1015629.163, COLUMNS[0])
    '1.0e+06'
    """
    vast = column.measurement and abs(value) >= VAST
    return f"{value:.1e}" if vast else f"{value:,.{column.places}f}"


def as_csv(records: Sequence[Record], asked: Asked | None = None) -> str:
    """Return every row with every figure: mean, ends of its interval, and the seeds behind it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = [f"{c.name}{end}" for c in COLUMNS for end in ("", "_low", "_high", "_n")]
    writer.writerow(
        [
            *("data", "forget", "method", "kind", "seeds", "missing", "failed", "why", "remarks"),
            *("place", "p", *figures),
        ]
    )
    for rows in tables(records, asked).values():
        for row in rows:
            words: list[object] = [row.data, row.forget, row.method, row.kind, row.seeds]
            why = UNASKED if row.unsuited else "; ".join(sorted({*row.failed}))
            words += [row.missing, len(row.failed), why, "; ".join(row.remarks), row.place]
            words.append("" if row.p is None else f"{row.p:.4f}")
            for column in COLUMNS:
                words += _written(row.figures.get(column.name))
            writer.writerow(words)
    return text.getvalue()


def _written(found: Figure | None) -> list[str]:
    """Return a figure, the ends of its interval, and its seeds, as four fields."""
    if found is None:
        return [""] * 4
    ends = ("" if end is None else f"{end:.6g}" for end in (found.low, found.high))
    return [f"{found.value:.6g}", *ends, f"{found.n}"]


def as_text(records: Sequence[Record], asked: Asked | None = None) -> str:
    """Return the main columns in lines of at most 80 characters."""
    parts = []
    for (data, forget), rows in tables(records, asked).items():
        if _none_there(rows):
            parts.append(f"{printable(f'{data}, {forget}')[:WIDTH]}\n{_none_there(rows)}")
            continue
        heads = ("JS", "test", "AUC gap", "probe", "seconds", "grads", "n")
        widths = (13, 6, 8, 6, 8, 8, 4)
        lines = [printable(f"{data}, {forget}")[:WIDTH]]
        titles = zip(heads, widths, strict=True)
        lines.append(" " * 27 + "".join(f"{head:>{width}}" for head, width in titles))
        for row in rows:
            shown = [_short(row.figures.get(name), name == SHORT[0]) for name in SHORT]
            shown += [_amount(row.figures.get(name)) for name in ("seconds", "image_gradients")]
            shown.append(f"{row.n}/{row.seeds}" if row.n != row.seeds else _seeds(row))
            name = f"{printable(row.method)[:22]:23}{row.place:4}"
            figures = "".join(f" {x:>{w - 1}}" for x, w in zip(shown, widths, strict=True))
            lines.append(f"{name}{figures}".rstrip())
        lines += [
            fill(told, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
            for told in _below(rows)
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _short(found: Figure | None, with_half: bool) -> str:
    if found is None:
        return NONE
    spread = f" ±{found.reach:.3f}" if with_half and found.reach is not None else ""
    return f"{found.value:.3f}{spread}"


def _amount(found: Figure | None) -> str:
    """Return a number of seconds or of gradients in few characters."""
    if found is None:
        return NONE
    if found.value >= 1e6:
        return f"{found.value / 1e6:,.1f}M"
    return f"{found.value:,.0f}" if found.value >= 100 else f"{found.value:.1f}"

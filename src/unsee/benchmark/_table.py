"""Rows as Markdown, as CSV, and as lines for a terminal."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import fill

from unsee.benchmark._results import Record
from unsee.benchmark._statistics import COLUMNS, Column, Figure, Row, tables
from unsee.console import printable

WIDTH = 80
NONE = "–"
VAST = 1000  # of a figure in shares
UNASKED = "for whole classes alone, and not asked"
MARKS = {"best": "best", "tied": "tied", "": ""}
SHORT = ("js_distance", "test_accuracy", "membership_gap", "probe_recall")  # for a terminal


def as_markdown(records: Sequence[Record]) -> str:
    """Return one table for every data set and rule, with what failed below it."""
    parts = []
    for (data, forget), rows in tables(records).items():
        heads = ["method", "", "n", *(column.title for column in COLUMNS)]
        lines = [f"### {_cell(data)}, {_cell(forget)}", "", _line(heads)]
        lines.append(_line(["---", "---", "--:", *["--:"] * len(COLUMNS)]))
        for row in rows:
            figures = [_spelled(row.figures.get(c.name), c) for c in COLUMNS]
            lines.append(_line([_named(row), _marked(row), _seeds(row), *figures]))
        parts.append("\n".join([*lines, *_failures(rows)]))
    return "\n\n".join(parts)


def _named(row: Row) -> str:
    name = _cell(row.method)
    if row.kind == "reference":
        return f"*{name}*"
    return f"{name} (control)" if row.kind == "control" else f"`{name}`"


def _marked(row: Row) -> str:
    return f"**{MARKS[row.place]}**" if row.place == "best" else MARKS[row.place]


def _seeds(row: Row) -> str:
    if row.unsuited:
        return NONE
    return f"{row.n} of {row.seeds}" if row.failed else f"{row.n}"


def _unsuited(rows: Sequence[Row], *, as_code: bool = False) -> list[str]:
    """Return a line that names the methods which are not for this rule, if there are any."""
    mark = "`" if as_code else ""
    names = [f"{mark}{row.method}{mark}" for row in rows if row.unsuited]
    return [f"{UNASKED}: {', '.join(names)}"] if names else []


def _failures(rows: Sequence[Row]) -> list[str]:
    """Return a line for every reason why seeds of a method have failed, and who was not asked."""
    found = [f"* {told}" for told in _unsuited(rows, as_code=True)]
    for row in rows:
        for why, times in Counter(row.failed).items():
            told = _cell(printable(why))
            found.append(f"* `{_cell(row.method)}` failed in {times} of {row.seeds}: {told}")
    return ["", *found] if found else []


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _cell(text: str) -> str:
    """Return text that cannot end a cell or begin an element of HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _spelled(found: Figure | None, column: Column) -> str:
    """Write a mean and half of its interval.

    >>> _spelled(Figure(0.25, 0.125, 5), COLUMNS[0])
    '0.250 ±0.125'
    """
    if found is None:
        return NONE
    text = _number(found.value, column)
    if found.half is None or (not column.measurement and not found.half):  # a count, the same
        return text
    return f"{text} ±{_number(found.half, column)}"


def _number(value: float, column: Column) -> str:
    """Write a number; one that is far too large for what was measured, a ratio to nearly 0, short.

    >>> _number(1015629.163, COLUMNS[0])
    '1.0e+06'
    """
    vast = column.measurement and value >= VAST
    return f"{value:.1e}" if vast else f"{value:,.{column.places}f}"


def as_csv(records: Sequence[Record]) -> str:
    """Return every row with every figure: mean, half of its interval, and the seeds behind it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = [f"{c.name}{end}" for c in COLUMNS for end in ("", "_half", "_n")]
    writer.writerow(
        ["data", "forget", "method", "kind", "seeds", "failed", "why", "place", "p", *figures]
    )
    for rows in tables(records).values():
        for row in rows:
            words: list[object] = [row.data, row.forget, row.method, row.kind, row.seeds]
            why = UNASKED if row.unsuited else "; ".join(sorted({*row.failed}))
            words += [len(row.failed), why, row.place]
            words.append("" if row.p is None else f"{row.p:.4f}")
            for column in COLUMNS:
                found = row.figures.get(column.name)
                half = "" if found is None or found.half is None else f"{found.half:.6g}"
                words += ["", "", ""] if found is None else [f"{found.value:.6g}", half, found.n]
            writer.writerow(words)
    return text.getvalue()


def as_text(records: Sequence[Record]) -> str:
    """Return the main columns in lines of at most 80 characters."""
    parts = []
    for (data, forget), rows in tables(records).items():
        heads = ("JS", "test", "AUC gap", "probe", "seconds", "grads", "n")
        widths = (13, 6, 8, 6, 8, 9, 4)
        lines = [printable(f"{data}, {forget}")[:WIDTH]]
        titles = zip(heads, widths, strict=True)
        lines.append(" " * 26 + "".join(f"{head:>{width}}" for head, width in titles))
        for row in rows:
            shown = [_short(row.figures.get(name), name == SHORT[0]) for name in SHORT]
            shown += [_amount(row.figures.get(name)) for name in ("seconds", "image_gradients")]
            shown.append(f"{row.n}/{row.seeds}" if row.failed else _seeds(row))
            name = f"{printable(row.method)[:21]:22}{row.place:4}"
            lines.append(
                name + "".join(f"{x:>{w}}" for x, w in zip(shown, widths, strict=True)).rstrip()
            )
        lines += [fill(told, WIDTH, break_on_hyphens=False) for told in _unsuited(rows)]
        for row in rows:
            for why, times in Counter(row.failed).items():
                told = f"{row.method} failed in {times} of {row.seeds}: {printable(why)}"
                lines.append(fill(told, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _short(found: Figure | None, with_half: bool) -> str:
    if found is None:
        return NONE
    spread = f" ±{found.half:.3f}" if with_half and found.half is not None else ""
    return f"{found.value:.3f}{spread}"


def _amount(found: Figure | None) -> str:
    """Return a number of seconds or of gradients in few characters."""
    if found is None:
        return NONE
    return f"{found.value:,.0f}" if found.value >= 100 else f"{found.value:.1f}"

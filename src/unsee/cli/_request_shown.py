"""A request on a terminal: what it is, what was answered, and what the log has of it."""

from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unsee.ledger import Entry, ErasureRequest, Model, Scope

WIDTH = 80


def what(request: "ErasureRequest") -> str:
    """Return what a request is about, as far as a list says it."""
    return f"{request.count:,} ids" if request.kind == "ids" else f"{request.kind}=..."


def shown(
    found: "ErasureRequest", rows: list["Entry"], answers: dict[str, str], models: list["Model"]
) -> list[str]:
    """Return a request, its checklist and what the log has of it, in lines for a terminal."""
    from unsee.console import printable
    from unsee.ledger import CHECKLIST, place_of

    lines = [
        f"request   {found.number}, subject {found.subject}, added by {printable(found.added_by)}",
        f"what      {what(found)} of the model of line {found.line}",
        f"received  {found.received}, due {found.due}",
        f"state     {found.state}{f', audit {found.light}' if found.light else ''}",
    ]
    if found.state == "failed" and found.job is not None:
        lines.append(f"why       error.txt in {place_of(found.job)} of the worker's folder says it")
    for model in models:
        lines.append(f"model     {model.number}, {model.state}, instead of {model.parent}")
        lines.append(f"          {printable(str(model.path))}")
    for item, text in CHECKLIST.items():
        lines += wrapped(f"{answers.get(item, 'open'):10}", f"{item}: {text}")
    for row in rows:
        why = f": {row.why}" if row.why else ""
        lines += wrapped(f"{row.seq:5}  {row.at[:16]}  ", f"{row.told}, by {row.who}{why}")
    return lines


def images(scope: "Scope | None") -> list[str]:
    """Return which images a request is about, None for a closed one, in lines."""
    from unsee.console import printable

    if scope is None:
        return ["images    nobody knows any more: the request is closed"]
    if scope.kind != "ids":
        return [f"images    {printable(scope.rule)}"]
    return ["images    by these ids", *(f"          {printable(x)}" for x in scope.values)]


def wrapped(name: str, words: str) -> list[str]:
    """Return words behind a name, in lines that fit a terminal and begin below one another."""
    from unsee.console import printable

    lines = wrap(printable(words), WIDTH - len(name))
    return [f"{name if n == 0 else '':{len(name)}}{line}" for n, line in enumerate(lines)]

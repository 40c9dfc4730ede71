"""Does what the ledger says of requests, checklists and models follow from its log?"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, String, select, type_coerce

from unsee.ledger._approved import DIGESTS, digests
from unsee.ledger._chain import GENESIS, Checked, Entry, checked
from unsee.ledger._schema import chain, checklist, events, keys, models, requests, scopes
from unsee.ledger._states import CLOSED, TRANSITIONS

Key = tuple[str, str]  # a thing, such as "request 1", and a column of it
OF_A_REQUEST = ("state", "line", "kind", "count", "received", "due", "added_by", "light", "job")
OF_A_MODEL = ("line", "parent", "sha256", "state")
RECORDED = ("line", "kind", "count", "received", "due", "light", "job", *DIGESTS)  # in details


def verified(connection: Connection, expected: str | None) -> Checked:
    """Read all of a ledger, and find the first row that is not as it was written."""
    head, rows = connection.execute(select(chain)).one_or_none(), entries(connection)
    if head is None:
        last = rows[-1].hash if rows else GENESIS
        return Checked(len(rows), last, len(rows) + 1, "is unknown: the head of the log is gone")
    told = checked(rows, head.seq, head.hash, expected)
    return told if told.why else compared(replayed(rows), dict(_stand(connection)), told)


def entries(connection: Connection, number: int | None = None) -> list[Entry]:
    """Return the log, or what it has of one request, in the order of writing."""
    query = select(events).order_by(events.c.seq)
    if number is not None:
        query = query.where(events.c.request == number)
    return [Entry(**row) for row in connection.execute(query).mappings()]


def replayed(rows: Sequence[Entry]) -> dict[Key, tuple[str, int]]:
    """Return what an unharmed log says that stands in the tables, and the row that says so."""
    facts: dict[Key, tuple[str, int]] = {}
    for row in rows:
        if row.request is not None:
            line, _ = facts.get((f"request {row.request}", "line"), ("", 0))
            said = _said(row, json.loads(row.details), line)
            for key, text in ((key, _text(value)) for key, value in said):
                if key not in facts or facts[key][0] != text:  # the row that said so first
                    facts[key] = text, row.seq
    closed = {x for (x, name), (text, _) in facts.items() if name == "state" and text in CLOSED}
    # The key of the digests goes when a request closes.
    return {
        key: fact for key, fact in facts.items() if key[0] not in closed or key[1] not in DIGESTS
    }


def _said(row: Entry, details: Mapping[str, Any], line: str) -> Iterator[tuple[Key, Any]]:
    """Yield what one row says of its request, and of the models that it made or retired."""
    request = f"request {row.request}"
    if row.what == "received":
        first = {"added_by": row.who, "light": "", "job": ""}
        yield from (((request, name), value) for name, value in first.items())
    if row.what in TRANSITIONS:
        yield (request, "state"), row.what
    yield from (((request, name), details[name]) for name in RECORDED if name in details)
    if row.what.startswith("checklist "):
        yield _item(details["item"], row.request), row.what.removeprefix("checklist ")
    if made := details.get("model"):
        model, before = f"model {made['number']}", f"model {made['replaces']}"
        yield (model, "sha256"), made["sha256"]
        yield (model, "parent"), made["replaces"]
        yield (model, "state"), "in use"
        yield (before, "state"), "superseded"
        if "replaced" in made:
            yield (before, "sha256"), made["replaced"]
        if line:
            yield (model, "line"), line
            yield (before, "line"), line
    for number in details.get("retired", ()):
        yield (f"model {number}", "state"), "retired"


def _stand(connection: Connection) -> Iterator[tuple[Key, str]]:
    """Yield what stands in the tables."""
    keyed = {*connection.execute(select(keys.c.request)).scalars()}
    known = {*connection.execute(select(scopes.c.request).distinct()).scalars()}
    days = [type_coerce(requests.c[name], String).label(name) for name in ("received", "due")]
    columns = [
        requests.c[name] for name in ("id", *OF_A_REQUEST) if name not in ("received", "due")
    ]
    for row in connection.execute(select(*columns, *days)).mappings().all():
        thing = f"request {row['id']}"
        yield from (((thing, name), _text(row[name])) for name in OF_A_REQUEST)
        if row["id"] in keyed or row["state"] not in CLOSED:
            now = digests(connection, row["id"])
            yield from (((thing, name), now.get(name, "")) for name in DIGESTS)
        if row["id"] in keyed | known and row["state"] in CLOSED:
            yield (f"images or a key of {thing}, which is closed", "kept"), "yes"
    for row in connection.execute(select(checklist)).mappings():
        yield _item(row["item"], row["request"]), row["answer"]
    for row in connection.execute(select(models)).mappings():
        yield from (((f"model {row['id']}", name), _text(row[name])) for name in OF_A_MODEL)


def compared(
    told: Mapping[Key, tuple[str, int]], stands: Mapping[Key, str], found: Checked
) -> Checked:
    """Find the first row that says otherwise than what stands, or what no row speaks of.

    Args:
        told: what the log says, and its rows.
        stands: what the tables say.
        found: what was found so far.

    """
    there = {thing for thing, _ in stands}
    for (thing, name), (text, seq) in sorted(told.items(), key=lambda pair: pair[1][1]):
        got = stands.get((thing, name))
        if got != text:
            shown = f"it is {got or 'nothing'}" if thing in there else f"{thing} is gone"
            why = f"says that the {name} of {thing} is {text or 'nothing'}, but {shown}"
            return Checked(found.count, found.last, seq, why)
    if extra := sorted(there - {thing for thing, _ in told}):
        why = f"should have added {extra[0]}, which the log does not know"
        return Checked(found.count, found.last, found.count + 1, why)
    return found


def _item(name: str, request: int | None) -> Key:
    return f"item {name} of request {request}", "answer"


def _text(value: Any) -> str:
    return "" if value is None else str(value)

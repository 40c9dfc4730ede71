"""Does what the ledger says of its requests follow from its log?"""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, select

from unsee.ledger._chain import Checked, Entry, checked
from unsee.ledger._requests import ErasureRequest, read
from unsee.ledger._schema import chain, events, requests
from unsee.ledger._states import TRANSITIONS


def verified(connection: Connection, expected: str | None) -> Checked:
    """Read all of a ledger, and find the first row that is not as it was written."""
    head = connection.execute(select(chain)).one()
    found = connection.execute(select(events).order_by(events.c.seq)).mappings()
    rows = [Entry(**row) for row in found]
    stand = [read(row) for row in connection.execute(select(requests)).mappings()]
    told = checked(rows, head.seq, head.hash, expected)
    return told if told.why else replayed(rows, stand, told)


def replayed(rows: Sequence[Entry], stand: Sequence[ErasureRequest], found: Checked) -> Checked:
    """Follow the log row by row, and find the first request that stands otherwise than it says.

    Args:
        rows: an unharmed log.
        stand: the requests as the ledger has them.
        found: what was found so far.

    """
    state: dict[int, str] = {}
    due: dict[int, str] = {}
    last: dict[int, int] = {}  # the row that says so
    for row in rows:
        if row.request is None:
            continue
        details = json.loads(row.details)
        last[row.request] = row.seq
        if row.what in TRANSITIONS:
            state[row.request] = row.what
        if "due" in details:
            due[row.request] = details["due"]
    there = {request.number: request for request in stand}
    for number, seq in sorted(last.items(), key=lambda pair: pair[1]):
        request = there.pop(number, None)
        told = (state[number], due[number])
        stands = None if request is None else (request.state, str(request.due))
        if stands != told:
            shown = "gone" if stands is None else f"{stands[0]}, due {stands[1]}"
            why = f"says that request {number} is {told[0]}, due {told[1]}, but it is {shown}"
            return Checked(found.count, found.last, seq, why)
    if there:
        number = min(there)
        why = f"should have added request {number}, which the log does not know"
        return Checked(found.count, found.last, len(rows) + 1, why)
    return found

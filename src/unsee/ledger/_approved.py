"""Are the images of a request, and the way to serve it, still those of the day it was added?

The log has digests of both, under the request's own key; they can be checked until it closes.
"""

import json
import re

from sqlalchemy import Connection, select

from unsee.errors import LedgerError
from unsee.ledger._schema import events, keys, requests
from unsee.ledger._traces import kept, keyed

DIGESTS = ("scope", "config")
CHANGED = "its images or settings are not those that were approved: refuse it and add it again"
KEY = re.compile(r"[0-9a-f]{64}")


def digests(connection: Connection, number: int) -> dict[str, str]:
    """Return the keyed digests of what a request is as it stands; none without key or images."""
    query = select(requests.c.kind, requests.c.config).where(requests.c.id == number)
    kind, config = connection.execute(query).one()
    key = connection.execute(select(keys.c.key).where(keys.c.request == number)).scalar()
    scope = kept(connection, number, kind)
    if key is None or not KEY.fullmatch(key) or scope is None:
        return {}
    asked = {"kind": scope.kind, "values": sorted(scope.values)}
    return {"scope": keyed(key, asked), "config": keyed(key, {"config": config})}


def unharmed(connection: Connection, number: int) -> None:
    """Refuse an open request that is another than the one that was added.  Raises LedgerError."""
    if changed(connection, number):
        raise LedgerError(f"Expected request {number} as it was added, got another: {CHANGED}")


def changed(connection: Connection, number: int) -> bool:
    """Tell whether an open request is another than the one that was added, as far as is known."""
    said = (events.c.request == number) & (events.c.what == "received")
    rows = connection.execute(select(events.c.details).where(said)).scalars().all()
    try:
        (told,) = map(json.loads, rows)
    except ValueError:  # none, several, or no JSON: somebody was at the log
        return True
    now = digests(connection, number)
    return any(now.get(name) != told[name] for name in DIGESTS if name in told)

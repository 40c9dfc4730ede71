"""The beginning of a request: what is kept of it, and the first row of its log."""

from datetime import date
from typing import TYPE_CHECKING

from unsee.ledger import _traces as traces
from unsee.ledger._approved import digests
from unsee.ledger._chain import Log
from unsee.ledger._line import line_of, settings
from unsee.ledger._requests import new
from unsee.ledger._terms import Scope

if TYPE_CHECKING:
    from unsee.nouns import Config


def add(
    log: Log,
    subject: str,
    who: str,
    scope: Scope,
    config: "Config",
    model: str,
    dates: dict[str, date],
    why: str,
) -> int:
    """Register a request of which everything is checked, and return its number.

    ``model``: SHA-256 of the file that the config names as such, "" for none.
    """
    line = line_of(log.connection, config, model)
    facts = {"line": line, "kind": scope.kind, "count": len(scope.values)}
    own = {"subject": subject, "added_by": who, "config": settings(config)}
    number = new(log.connection, **own, **facts, **dates)
    traces.keep(log.connection, number, scope)
    told = {name: str(day) for name, day in dates.items()}
    told |= digests(log.connection, number)
    log.append(number, who, "received", why, **facts, **told)
    return number

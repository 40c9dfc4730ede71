"""What a request asks for, as its run would begin now: which images, how, and from which model."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, select

from unsee.errors import LedgerError
from unsee.ledger._approved import unharmed
from unsee.ledger._ids import ids_file
from unsee.ledger._models import Model, in_use, unchanged
from unsee.ledger._requests import get, settings
from unsee.ledger._schema import requests
from unsee.ledger._terms import Scope
from unsee.ledger._traces import kept

if TYPE_CHECKING:
    from unsee.nouns import Config


class Stand(NamedTuple):
    """How far a line has come."""

    earlier: tuple[Scope, ...]  # what was served and is not closed yet
    model: Model | None  # that has unseen all that was served; None: nothing was


@dataclass(frozen=True)
class Asked:
    """What an open request asks for."""

    config: str  # JSON: how it is to be served
    scope: Scope  # which images
    stand: Stand  # of its line


def asked(connection: Connection, number: int) -> Asked:
    """Return what a request asks for.

    Raises:
        LedgerError: if there is none, it is closed, or it is not what was added.

    """
    found = get(connection, number)
    scope = kept(connection, number, found.kind) if found.open else None
    if scope is None:
        raise LedgerError(
            f"Expected an open request, got {number}, which is {found.state}: nobody knows its "
            "images now"
        )
    unharmed(connection, number)
    return Asked(settings(connection, number), scope, stand(connection, found.line, number))


def stand(connection: Connection, line: int, but: int | None = None) -> Stand:
    """Return how far a line has come; ``but``: a request that is not counted."""
    served = select(requests.c.id, requests.c.kind).where(
        requests.c.line == line, requests.c.state == "audited", requests.c.id != (but or 0)
    )
    rows = connection.execute(served.order_by(requests.c.id)).all()
    scopes = (kept(connection, row.id, row.kind) for row in rows)
    return Stand(tuple(x for x in scopes if x is not None), in_use(connection, line))


@contextmanager
def as_it_begins(asked: Asked) -> Iterator["Config"]:
    """Yield what the pipeline would be given now; ids lie in files that are deleted again.

    Raises:
        ModelError: if the model in use is not the one that was made.

    """
    with ExitStack() as files:

        def rule(scope: Scope) -> str:
            if scope.kind != "ids":
                return scope.rule
            return f"ids={files.enter_context(ids_file(scope.values))}"

        earlier = [rule(scope) for scope in asked.stand.earlier]
        yield begun(asked.config, asked.stand.model, rule(asked.scope), earlier)


def begun(config: str, model: Model | None, forget: str, earlier: Sequence[str]) -> "Config":
    """Return what the pipeline is to do.

    Args:
        config: JSON: how it is to be served.
        model: to begin with; None: as the config says.
        forget: the rule of the images.
        earlier: rules of those that the model has unseen already.

    Raises:
        ModelError: if the model is not the one that was made.

    """
    from unsee.nouns import Config

    asked = Config.from_json(config)
    changed: dict[str, Any] = {"forget": forget, "earlier": (*asked.earlier, *earlier)}
    if model is not None:
        path = str(unchanged(model))
        changed |= {"model": path, "seed": (asked.seed + model.number) % 2**31}
    return replace(asked, **changed)

"""A line: one model with its data and settings, and whatever replaces it, request after request."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select

from unsee.ledger._chain import canonical
from unsee.ledger._schema import lines

if TYPE_CHECKING:
    from unsee.nouns import Config

NOT_OF_A_LINE = ("forget", "earlier")  # what differs from request to request
FILES = ("classes", "validation", "model", "init", "buffer", "oracle", "policy")


def line_of(connection: Connection, config: "Config") -> int:
    """Return the line that a config is about; it is made where there is none."""
    record = {name: x for name, x in asdict(config).items() if name not in NOT_OF_A_LINE}
    text = canonical(record | {"redact": True})  # what a ledger asks for shows nobody's images
    found = connection.execute(select(lines.c.id).where(lines.c.config == text)).scalar()
    if found is None:
        made = connection.execute(insert(lines).values(config=text))
        found = made.inserted_primary_key[0]  # type: ignore[index]
    return int(found)


def absolute(config: "Config") -> "Config":
    """Return a config that names the same files from every folder: workers start elsewhere."""
    named = {name: getattr(config, name) for name in ("data", *FILES)}
    found: dict[str, Any] = {name: _absolute(text) for name, text in named.items() if text}
    return replace(config, **found)


def _absolute(text: str) -> str:
    """Make the path absolute that stands at the end of ``npz:PATH`` or ``ids=PATH``, if any does.

    >>> _absolute("digits"), _absolute("none"), _absolute("npz:/a/b.npz")
    ('digits', 'none', 'npz:/a/b.npz')

    """
    for mark in ("", "=", ":"):
        before, _, path = text.rpartition(mark) if mark else ("", "", text)
        if Path(path).exists():
            return (
                f"{before}{mark}{Path(path).absolute()}" if before else str(Path(path).absolute())
            )
    return text

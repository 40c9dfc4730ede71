"""Models by version: which replaces which; the original is the first and is never written to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from unsee.errors import ModelError
from unsee.ledger._schema import models


@dataclass(frozen=True)
class Model:
    """One version of a line's model: a file as it was when the version was made."""

    number: int
    line: int
    parent: int | None  # None: the original
    path: Path
    sha256: str
    state: str  # in use, superseded, retired


def _model(row: Any) -> Model:
    return Model(row.id, row.line, row.parent, Path(row.path), row.sha256, row.state)


def all_of(connection: Connection, line: int | None = None) -> list[Model]:
    """Return the models of a line, or of all, in the order of their making."""
    query = select(models).order_by(models.c.id)
    if line is not None:
        query = query.where(models.c.line == line)
    return [_model(row) for row in connection.execute(query)]


def in_use(connection: Connection, line: int) -> Model | None:
    """Return the model that has unseen all that was served; None: nothing was served."""
    return next((m for m in all_of(connection, line) if m.state == "in use"), None)


def replace(
    connection: Connection, line: int, *, original: tuple[Path, str], made: tuple[Path, str]
) -> Model:
    """Put a new model in the place of the one in use.

    Args:
        connection: of the transaction.
        line: whose model it is.
        original: file and digest of the original, noted down where this is the first time.
        made: file and digest of the new one.

    """
    before = in_use(connection, line)
    parent = before.number if before else _add(connection, line, None, original, "superseded")
    connection.execute(update(models).where(models.c.id == parent).values(state="superseded"))
    number = _add(connection, line, parent, made, "in use")
    return Model(number, line, parent, made[0], made[1], "in use")


def _add(
    connection: Connection, line: int, parent: int | None, file: tuple[Path, str], state: str
) -> int:
    values = {"line": line, "parent": parent, "path": str(file[0].absolute()), "sha256": file[1]}
    inserted = connection.execute(insert(models).values(**values, state=state))
    return int(inserted.inserted_primary_key[0])  # type: ignore[index]


def unchanged(model: Model) -> Path:
    """Return the file of a model that is as it was when the version was made.

    Raises:
        ModelError: if it is another, or gone.

    """
    found = digest(model.path) if model.path.is_file() else "no file"
    if found != model.sha256:
        raise ModelError(
            f"Expected model {model.number} as it was made, with a SHA-256 of {model.sha256[:12]}, "
            f"got {found[:12]} at {model.path}: put the file back"
        )
    return model.path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; that of ``unsee.folder`` brings torch along."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def descendants(found: list[Model], number: int) -> list[Model]:
    """Return what was made from a model, and from that, in the order of their making."""
    family = {number}
    below = []
    for model in found:
        if model.parent in family:
            family.add(model.number)
            below.append(model)
    return below

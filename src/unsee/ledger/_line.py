"""A line: one original model, and whatever replaces it, request after request.

What a line is must not depend on how a request is served: with another method the second request
begins with the model of the first all the same.  Without ``--model`` the recipe is the original's
name, its seed and epochs among it: name the model in use, and they do not count.
"""

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select

from unsee.errors import LedgerError
from unsee.events import warn
from unsee.ledger._chain import canonical
from unsee.ledger._schema import lines, models

if TYPE_CHECKING:
    from unsee.nouns import Config

RECIPE = (  # what decides an original that a run trains
    *("data", "classes", "size", "arch", "init", "mean", "std", "output_layer"),
    *("train_epochs", "seed"),
)
FILES = ("classes", "validation", "model", "init", "buffer", "oracle", "policy")
NO_FILES = ("none", "retrain")  # of --oracle
SOURCE = re.compile(r"(?P<kind>(?:(?:backdoor|mislabel):)?[a-z0-9-]+:)(?P<path>.+)")
PLACELESS = ("digits",)


def line_of(connection: Connection, config: "Config", sha256: str) -> int:
    """Return the line that a config is about; it is made where there is none.

    Args:
        connection: of the transaction.
        config: of the request.
        sha256: of its ``model``, "" where it names none.

    """
    if config.model is not None and (known := _known(connection, config.model, sha256)):
        return known
    record = asdict(config)
    names = RECIPE if config.model is None else ("model",)
    text = canonical({name: record[name] for name in names})
    found = connection.execute(select(lines.c.id).where(lines.c.original == text)).scalar()
    if found is None:
        made = connection.execute(insert(lines).values(original=text))
        found = made.inserted_primary_key[0]  # type: ignore[index]
    return int(found)


def _known(connection: Connection, path: str, sha256: str) -> int | None:
    """Return the line of which a file is a version, if it is of any.

    It is one by its place, in one container or the other, or as a copy of one: on a line of its own
    a copy would be served as if nothing had been asked of it before.
    """
    versions = connection.execute(select(models).order_by(models.c.id)).all()
    for row in versions:
        if row.path == path:
            return int(row.line)
    original = select(lines.c.id).where(lines.c.original == canonical({"model": path}))
    if connection.execute(original).scalar() is not None:
        return None  # found by its name
    for row in versions:
        beside = Path(row.path).with_suffix("") == Path(path).with_suffix("")
        if beside or row.sha256 == sha256:
            warn(f"{path} is model {row.id} of line {row.line}: it is served there")
            return int(row.line)
    return None


def settings(config: "Config") -> str:
    """Return how a request is to be served, as canonical JSON; which images, it does not say."""
    record = asdict(config)
    del record["forget"]
    return canonical(record | {"redact": True})  # what a ledger asks for shows nobody's images


def absolute(config: "Config") -> "Config":
    """Return a config that names the same files from every folder: workers start elsewhere.

    Raises:
        LedgerError: if one of the files is not there.

    """
    found: dict[str, Any] = {"data": _source(config.data)}
    file, own, function = config.method.rpartition(".py:")
    if own:
        if not Path(f"{file}.py").is_file():
            raise LedgerError(f"Expected a file for --method, got {file}.py, where there is none")
        found["method"] = f"{_whole(file)}{own}{function}"
    for name in FILES:
        text = getattr(config, name)
        if text and text not in NO_FILES:
            found[name] = _absolute(text)
            if found[name] is None:
                raise LedgerError(
                    f"Expected a file for --{name}, got {text!r}, where there is none"
                )
    return replace(config, **found)


def _source(text: str) -> str:
    """Make the path of a source of data absolute: what stands behind ``npz:`` or ``backdoor:npz:``.

    Raises:
        LedgerError: if nothing is there.

    """
    named = SOURCE.fullmatch(text)
    if named is None or named["path"] in PLACELESS:
        return text  # digits, whatever lies here by that name
    if not Path(named["path"]).exists():
        raise LedgerError(f"Expected images at {named['path']} for --data, got nothing there")
    return named["kind"] + _whole(named["path"])


def _whole(path: str) -> str:
    """Return the one name of a file: absolute, without ``..``; links stay as they are."""
    return os.path.normpath(Path(path).absolute())


def _absolute(text: str) -> str | None:
    """Make the path absolute that stands at the end of ``npz:PATH`` or ``ids=PATH``, if any does.

    >>> _absolute("digits") is None, _absolute("npz:/")
    (True, 'npz:/')

    """
    for mark in ("", "=", ":"):
        before, _, path = text.rpartition(mark) if mark else ("", "", text)
        if Path(path).exists():
            return before + (mark if before else "") + _whole(path)
    return None

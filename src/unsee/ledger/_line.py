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


def line_of(connection: Connection, config: "Config") -> int:
    """Return the line that a config is about; it is made where there is none."""
    version = select(models.c.line).where(models.c.path == config.model)
    if config.model is not None and (known := connection.execute(version).scalar()) is not None:
        return int(known)
    record = asdict(config)
    names = RECIPE if config.model is None else ("model",)
    text = canonical({name: record[name] for name in names})
    found = connection.execute(select(lines.c.id).where(lines.c.original == text)).scalar()
    if found is None:
        made = connection.execute(insert(lines).values(original=text))
        found = made.inserted_primary_key[0]  # type: ignore[index]
    return int(found)


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

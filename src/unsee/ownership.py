"""Whose the files in a folder are: those of a run, which may replace them, or somebody else's."""

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from unsee.errors import RunError

CONFIG, STAGES, EVENTS, LOCK = "config.json", "stages.json", "events.jsonl", ".lock"
CERTIFICATE = "certificate.json"
FILES = (
    *(CONFIG, STAGES, EVENTS, "original.safetensors", "model.safetensors", "model.pt"),
    *("retrained.safetensors", "references", "audit.json", "arrays.npz", "report.html", "figures"),
    CERTIFICATE,
)
PART = re.compile(r".+\.(\d+)-[0-9a-f]{8}\.part")  # what write() leaves where it was killed
NAMING = (  # fields of a run that name files
    *("model", "init", "oracle", "buffer", "policy", "classes", "validation"),
    *("forget", "earlier", "rules"),
)
BESIDE = (LOCK, EVENTS, STAGES)  # one of them stands beside the config.json of a run


def refuse_strangers(path: Path) -> None:
    """Raise RunError if a folder holds files and none of them says that a run made them.

    A ``config.json`` alone does not: other programs write one, beside models of that name, too.
    """
    if not path.is_dir():
        return
    if (path / CONFIG).exists() and any((path / name).exists() for name in BESIDE):
        return
    for file in sorted(path.iterdir()):
        if file.name not in (LOCK, EVENTS) and not PART.fullmatch(file.name):
            raise RunError(f"Expected a new folder or one of a run, got {path} with {file.name!r}")


def refuse_inputs(path: Path, words: str, removed: Container[str] | None = FILES) -> None:
    """Raise RunError if a run needs a file that would be removed with the folder's old one.

    Args:
        path: the folder.
        words: of the new run, a ``config.json``; of it the fields that name files.
        removed: what goes, by names in the folder; None: everything.

    """
    top, record = path.resolve(), json.loads(words)
    for text in (text for name in NAMING for text in _texts(record.get(name))):
        file = text.removeprefix("ids=")
        inside = _inside(Path(file), top)
        if inside and (removed is None or inside.parts[0] in removed):
            raise RunError(
                f"Expected a run that needs nothing of the folder it replaces, got {file} in "
                f"{path}: another --out, or a copy of that file elsewhere"
            )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _inside(file: Path, top: Path) -> Path | None:
    """Return where below ``top`` a file lies; None: elsewhere, or nowhere."""
    try:
        there = file.exists() and file.resolve()
    except (OSError, ValueError):  # text that cannot be a path
        return None
    inside = there and there != top and there.is_relative_to(top)
    return there.relative_to(top) if there and inside else None


def clear(path: Path) -> None:
    """Remove what a run left in a folder, so that another may begin; leave all other files alone.

    Raises:
        RunError: if the folder is not one of a run.

    """
    refuse_strangers(path)
    words = (path / CONFIG).read_bytes() if (path / CONFIG).exists() else b""
    for mark, kind in ((b'"ids_digest"', "a fleet"), (b'"kind": "sequence"', "a sequence")):
        if mark in words:
            raise RunError(
                f"Expected the folder of a run to replace, got {path}, which holds {kind}"
            )
    for name in reversed(FILES):  # config.json last: it says whose folder this is
        file = path / name
        if file.is_dir():
            for inner in file.iterdir():
                inner.unlink()
            file.rmdir()
        else:
            file.unlink(missing_ok=True)

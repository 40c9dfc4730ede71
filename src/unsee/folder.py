"""A run folder: files that are written whole, and not made again once they are there."""

import fcntl
import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsee import events
from unsee.errors import BusyError, RunError, StorageError
from unsee.nouns import Run

CONFIG, STAGES, EVENTS, LOCK = "config.json", "stages.json", "events.jsonl", ".lock"
FILES = (
    *(CONFIG, STAGES, EVENTS, LOCK, "original.safetensors", "model.safetensors", "model.pt"),
    *("retrained.safetensors", "audit.json", "arrays.npz", "report.html", "figures"),
)
Facts = dict[str, Any]


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably.

    Raises:
        StorageError: if the disk refuses, or gives back other bytes; ``path`` is as it was.

    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if digest(part) != hashlib.sha256(content).hexdigest():
                raise StorageError(
                    f"Expected to read back what was written to {part}, got other bytes"
                )
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"Expected to write {path}, got {error}: free some space, then --resume"
        ) from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Folder:
    """One run's folder, held by this process alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def stage(self, name: str, file: str, make: Callable[[], tuple[bytes, Facts]]) -> Facts:
        """Make a file unless a finished one is there; return what is known about its making.

        Finished means: listed in ``stages.json``, with the digest that the file still has.  That
        list is written last, so a stage killed at any point is made again, to the same bytes.
        """
        known = json.loads((self / STAGES).read_text()) if (self / STAGES).exists() else {}
        entry = known.get(name)
        if entry and (self / file).exists() and digest(self / file) == entry["sha256"]:
            return dict(entry["facts"])
        with events.stage(name):
            content, facts = make()
            write(self / file, content)
            known[name] = {"sha256": hashlib.sha256(content).hexdigest(), "facts": facts}
            write(self / STAGES, json.dumps(known, indent=1, sort_keys=True).encode())
        return facts


@contextmanager
def opened(path: Path, config: str) -> Iterator[Folder]:
    """Open a new folder, or one that was begun with the same words; record events inside it.

    Raises:
        RunError: if the folder holds anything else.
        BusyError: if another process works in it.
        StorageError: if it cannot be written.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+")
    except OSError as error:
        raise StorageError(f"Expected a folder to write at {path}, got {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                f"Expected {path} for this run alone, got another process in it"
            ) from error
        if all(file.name in (LOCK, EVENTS) or file.suffix == ".part" for file in path.iterdir()):
            write(path / CONFIG, config.encode())
        begun = path / CONFIG
        if not begun.exists() or begun.read_text() != config:
            raise RunError(f"Expected a new folder or one of this very run, got {path}")
        for left in path.glob("*.part"):  # of a killed process: nobody else holds the lock
            left.unlink()
        with (path / EVENTS).open("a") as log, events.listening(lambda e: _note(log, e)):
            yield Folder(path)


def _note(log: Any, event: events.Event) -> None:
    log.write(json.dumps(asdict(event)) + "\n")
    log.flush()


def clear(path: Path) -> None:
    """Remove what a run left in a folder, so that another may begin; leave all other files alone.

    Raises:
        RunError: if the folder is not one of a run.

    """
    if path.exists() and any(path.iterdir()) and not (path / CONFIG).exists():
        raise RunError(f"Expected a folder of unsee to start over in (--force), got {path}")
    for name in FILES:
        file = path / name
        if file.is_dir():
            for inner in file.iterdir():
                inner.unlink()
            file.rmdir()
        else:
            file.unlink(missing_ok=True)


def pack_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return the bytes of ``arrays.npz``."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def load_run(path: Path) -> Run:
    """Read ``audit.json`` and ``arrays.npz`` of a run folder.

    Raises:
        RunError: if there is no finished audit.

    """
    try:
        text = (path / "audit.json").read_text()
        arrays: dict[str, NDArray[Any]] = {}
        if (path / "arrays.npz").exists():
            with np.load(path / "arrays.npz", allow_pickle=False) as stored:
                arrays = dict(stored)
    except (OSError, ValueError) as error:
        raise RunError(f"Expected a folder with a finished run, got {path}: {error}") from error
    return Run.from_json(text, arrays)

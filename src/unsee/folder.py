"""A run folder: files that are written whole, and not made again once they are there."""

import glob
import hashlib
import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unsee import events, ranks
from unsee.errors import RunError, StorageError, to_write
from unsee.locking import held
from unsee.nouns import Run
from unsee.ownership import (
    CERTIFICATE as CERTIFICATE,
    CONFIG as CONFIG,
    EVENTS as EVENTS,
    FILES as FILES,
    LOCK as LOCK,
    PART,
    STAGES as STAGES,
    clear as clear,
    refuse_inputs,
    refuse_strangers,
)

Facts = dict[str, Any]
Begun = Literal["continue", "refuse", "replace"]  # what to do with a run that is there already


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably; of a distributed job the first process does.

    Raises:
        StorageError: if the disk refuses, or gives back other bytes; ``path`` is as it was.

    """
    if not ranks.leads():
        return
    part = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if _is_orphan(left):
                left.unlink(missing_ok=True)
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
        raise StorageError(to_write(path, error)) from error


def _is_orphan(part: Path) -> bool:
    """Return whether no process of this machine is at work on a part of a file."""
    begun = PART.fullmatch(part.name)
    try:
        os.kill(int(begun[1]) if begun else os.getpid(), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # and no other user's
    return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Folder:
    """One run's folder, held by this process alone, or by the first of a distributed job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def stage(
        self,
        name: str,
        file: str,
        make: Callable[[], tuple[bytes, Facts]],
        *,
        together: bool = True,
    ) -> Facts:
        """Make a file unless a finished one is there; return what is known about its making.

        Finished means: listed in ``stages.json``, with the digest that the file still has.  That
        list is written last, so a stage killed at any point is made again, to the same bytes.
        Whether it is finished the first process of a distributed job says; all of them make it, or
        wait for the first where they cannot do so ``together``.
        """

        def led() -> tuple[bytes, Facts]:
            if together:
                ranks.told(None)
                return make()
            with ranks.alone():
                return make()

        if ranks.leads():
            facts = self._stage(name, file, led)
            ranks.told(facts)
            return facts
        known: Facts | None = ranks.told(None)
        if known is None:  # it is being made
            make()
            known = ranks.told(None)
        return known or {}

    def _stage(self, name: str, file: str, make: Callable[[], tuple[bytes, Facts]]) -> Facts:
        known = self._stages()
        entry = known.get(name)
        if entry and (self / file).exists() and digest(self / file) == entry["sha256"]:
            return dict(entry["facts"])
        with events.stage(name):
            content, facts = make()
            write(self / file, content)
            known[name] = {"sha256": hashlib.sha256(content).hexdigest(), "facts": facts}
            write(self / STAGES, json.dumps(known, indent=1, sort_keys=True).encode())
        return facts

    def _stages(self) -> dict[str, Any]:
        if not (self / STAGES).exists():
            return {}
        try:
            return dict(json.loads((self / STAGES).read_text()))
        except ValueError as error:
            raise RunError(
                f"Expected the stages that are done in {self / STAGES}, got {error}: "
                "delete it, and they are made again"
            ) from error


@contextmanager
def opened(path: Path, config: str, begun: Begun = "continue") -> Iterator[Folder]:
    """Open a new folder, or one that was begun with the same words; record events inside it.

    Of a distributed job the first process does, and all of them see the files in it.

    Args:
        path: of the folder; it is made.
        config: the run's words, kept as ``config.json``.
        begun: with "refuse" only a new folder will do, with "replace" a run in it is removed.

    Raises:
        RunError: if the folder holds anything else, or what the run needs; it is as it was.
        BusyError: if another process works in it.
        StorageError: if it cannot be written.

    """
    if not ranks.leads():
        yield Folder(path)
        return
    refuse_strangers(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+")
    except OSError as error:
        raise StorageError(f"Expected a folder to write at {path}, got {error}") from error
    with lock, held(lock, path):
        if begun == "replace":
            refuse_inputs(path, config)
            clear(path)
        if not (path / CONFIG).exists():
            write(path / CONFIG, config.encode())
        elif begun == "refuse":
            raise RunError(
                f"Expected a new folder, got {path}, which holds a run: go on with "
                f"--resume {path}, or start over with --force"
            )
        elif (path / CONFIG).read_bytes() != config.encode():
            raise RunError(
                f"Expected a new folder or one of this very run, got {path}, whose config.json "
                f"differs in {_differing((path / CONFIG).read_bytes(), config)}"
            )
        for left in path.rglob("*.part"):  # of a killed process: nobody else holds the lock
            if PART.fullmatch(left.name):
                left.unlink()
        _drop_half_a_line(path / EVENTS)
        with (path / EVENTS).open("ab", buffering=0) as log:
            with events.listening(lambda event: _note(log, event)):
                yield Folder(path)


def _differing(there: bytes, config: str) -> list[str]:
    try:
        old, new = dict(json.loads(there)), json.loads(config)
    except ValueError:
        return ["everything"]
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _drop_half_a_line(path: Path) -> None:
    """Cut off what a killed process did not finish: readers expect one event a line."""
    if path.exists():
        with path.open("rb+") as log:
            log.truncate(log.read().rfind(b"\n") + 1)


def _note(log: io.FileIO, event: events.Event) -> None:
    line = json.dumps(asdict(event)).encode() + b"\n"
    try:
        written = log.write(line) or 0
        if written != len(line):
            # or the next line would stand behind it
            log.truncate(log.seek(0, os.SEEK_END) - written)
            raise OSError("only half a line was written")
    except OSError as error:
        raise StorageError(to_write(repr(log.name), error)) from error


def pack_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return the bytes of ``arrays.npz``."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def load_run(path: Path, *, with_arrays: bool = True) -> Run:
    """Read ``audit.json`` and, unless told not to, ``arrays.npz`` of a run folder.

    Raises:
        RunError: if there is no finished audit.

    """
    try:
        text = (path / "audit.json").read_text()
        arrays: dict[str, NDArray[Any]] = {}
        if with_arrays and (path / "arrays.npz").exists():
            with (path / "arrays.npz").open("rb") as file:  # numpy would leave a bad one open
                with np.load(file, allow_pickle=False) as stored:
                    arrays = dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"Expected a folder with a finished run, got {path}: {error}") from error
    return Run.from_json(text, arrays)

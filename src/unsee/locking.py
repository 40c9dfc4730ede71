"""Whose a folder is: one process's at a time, by a lock that says so; one ledger's for good."""

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from unsee.errors import BusyError, StorageError, to_write

OWNER = ".ledger"  # in a folder of jobs: of which ledger they are
HOLDER = re.compile(r"(\d+) (\S+) ([\dT:+-]+)\n")  # process, machine, since


@contextlib.contextmanager
def held(lock: TextIO, folder: Path) -> Iterator[None]:
    """Take a lock, and write down in its file who has it, for as long as that is so.

    Args:
        lock: a file that was opened to append and read.
        folder: that it stands for, for errors.

    Raises:
        BusyError: if another process has it.
        StorageError: if it cannot be written.

    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"Expected {folder} for this run alone, got another process in it"
            f"{_holder(lock)}: wait for it"
        ) from error
    since = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        lock.truncate(0)
        lock.write(f"{os.getpid()} {socket.gethostname()} {since}\n")
        lock.flush()
    except OSError as error:
        raise StorageError(to_write(lock.name, error)) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the next to take it writes it anew
            lock.truncate(0)


def _holder(lock: TextIO) -> str:
    """Return who holds a lock, in words; nothing where an older unsee does, and wrote nothing."""
    lock.seek(0)
    found = HOLDER.fullmatch(lock.read(500))
    return " (process {} on {}, since {})".format(*found.groups()) if found else ""


def of_a_ledger(run: Path) -> bool:
    """Return whether a run was made by a worker, in the folder of some ledger's jobs."""
    return (run.resolve().parent.parent / OWNER).is_file()

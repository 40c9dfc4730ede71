"""Who computes when, and with how many threads: several grids may share folders and cores."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unsee.errors import StorageError, to_write


@contextmanager
def turn(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Wait until no other process is inside with the same file, and tell that it is our turn.

    With ``wait=False`` tell at once whether it is.  Raises StorageError.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise StorageError(to_write(str(lock), error)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            ours = True
        except BlockingIOError:
            ours = False
        yield ours


def lock_of(work: Path, name: str) -> Path:
    """Return the file by which processes that share ``work`` take turns at a cell or a search."""
    return work / "locks" / name


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads inside; with 0, as many as before."""
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number or before)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def at_most(number: int) -> Iterator[None]:
    """Compute with no more threads than this; with 0, as many as before.

    One number for all models and cells of a grid, so that a cell and what it is compared with round
    alike, however many of them are left to do.
    """
    with threads(within(number)):
        yield


def within(number: int) -> int:
    """Return a number of threads, or how many this process computes with where those are fewer."""
    import torch

    return min(number or torch.get_num_threads(), torch.get_num_threads())

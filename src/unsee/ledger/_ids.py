"""Ids that came in over the wire, as the file that a forget rule wants, for a moment."""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PREFIX, SUFFIX = "unsee-ids-", ".txt"
NAME = re.compile(rf"[^\s'\"=]*{PREFIX}\w+{re.escape(SUFFIX)}")
RULE = re.compile(f"ids={NAME.pattern}")


@contextmanager
def ids_file(ids: Sequence[str]) -> Iterator[Path]:
    """Write ids to a file of our own naming, readable by its owner, and delete it afterwards.

    It is locked while it is needed: one that nobody holds is of a process that was killed, and is
    deleted, too.
    """
    clear_left()
    handle, path = _held()
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("".join(f"{x}\n" for x in ids))
            file.flush()
            yield path
    finally:
        path.unlink(missing_ok=True)


def without_files(text: str, words: str) -> str:
    """Return what was said of ids without the names of their files; ``words``: instead of a rule.

    >>> without_files("'ids=/tmp/unsee-ids-x_1.txt' fits, /tmp/unsee-ids-x_1.txt", "3 ids")
    "'3 ids' fits, the ids"

    """
    return NAME.sub("the ids", RULE.sub(lambda _: words, text))


def clear_left() -> None:
    """Delete the files of ids that processes of this user left when they were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{SUFFIX}"):
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # of another user, or gone by now
            continue
        try:
            if os.fstat(handle).st_uid == os.getuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except BlockingIOError:  # somebody needs it
            continue
        finally:
            os.close(handle)


def _held() -> tuple[int, Path]:
    """Make a file and lock it; another server may take it for one that was left, in between."""
    while True:
        handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)

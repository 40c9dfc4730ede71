"""The folder of a ledger's jobs: of one ledger alone, for every one counts its jobs from 1.

A file in it holds the hash of the first row of the log, which no other ledger has.
"""

from pathlib import Path

from sqlalchemy import Connection, select

from unsee.errors import OptionError, StorageError
from unsee.ledger._schema import events
from unsee.locking import OWNER


def identity(connection: Connection) -> str:
    """Return what tells a ledger from all others; nothing while it is empty."""
    return connection.execute(select(events.c.hash).where(events.c.seq == 1)).scalar() or ""


def marked(folder: Path) -> str:
    """Return whose jobs lie in a folder; nothing: nobody has said so."""
    try:
        return (folder / OWNER).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def settle(connection: Connection, folder: Path) -> None:
    """Make a folder that of this ledger's jobs.

    Raises:
        OptionError: if it is another ledger's.
        StorageError: if the disk refuses.

    """
    from unsee.folder import write

    own = identity(connection)
    if own and not (folder / OWNER).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Expected a folder for jobs at {folder}, got {error}") from error
        write(folder / OWNER, f"{own}\n".encode())
    if own and marked(folder) != own:
        raise OptionError(
            f"Expected a folder for the jobs of this ledger alone, got {folder}, with those of "
            "another: name one with --folder"
        )


def is_strange(connection: Connection, folder: Path) -> bool:
    """Return whether the jobs in a folder are another ledger's."""
    return marked(folder) not in ("", identity(connection))

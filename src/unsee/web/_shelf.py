"""Run folders below one root, by the names that they have there and by no other path."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from unsee.errors import RunError, UnseeError
from unsee.folder import CONFIG, EVENTS, load_run
from unsee.ledger import RUN
from unsee.nouns import Run
from unsee.reporting import is_redacted, report

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AUDIT, REPORT, SHARED = "audit.json", "report.html", "report-redacted.html"
_draws = Lock()


class NotFound(UnseeError):
    """What an address names is not there."""


@dataclass(frozen=True)
class Shelf:
    """The folder that all runs lie in."""

    root: Path

    def has(self, name: str) -> bool:
        """Return whether there is a run of this name."""
        return self._place(name) is not None

    def _place(self, name: str) -> Path | None:
        if not NAME.fullmatch(name):
            return None
        places = (self.root / name, self.root / name / RUN)
        marks = (CONFIG, AUDIT)  # the first goes with a purge, which keeps audit and report
        return next((x for x in places if any((x / mark).is_file() for mark in marks)), None)

    def names(self) -> list[str]:
        """Return the names of the runs, the newest first."""
        if not self.root.is_dir():
            return []
        found = [x for x in self.root.iterdir() if self.has(x.name)]
        return [x.name for x in sorted(found, key=lambda x: (-x.stat().st_mtime, x.name))]

    def folder(self, name: str) -> Path:
        """Return a run's folder; a name is letters, digits, dots and dashes, and no path.

        Raises:
            NotFound: if there is none of that name.

        """
        place = self._place(name)
        if place is None:
            raise NotFound(f"Expected the name of a run below {self.root.name}, got {name[:100]!r}")
        return place

    def without_root(self, words: str) -> str:
        """Return words without the place of this folder: visitors know runs by their names."""
        for root in (self.root.resolve(), self.root.absolute()):
            words = words.replace(f"{root}/", "")
        return words

    def finished(self, name: str) -> bool:
        """Return whether a run has come to its audit."""
        return (self.folder(name) / AUDIT).is_file()

    def purged(self, name: str) -> bool:
        """Return whether a purge has taken what a finished run kept beside audit and report."""
        return self.finished(name) and not (self.folder(name) / CONFIG).exists()

    def run(self, name: str, *, arrays: bool = False) -> Run:
        """Read a run.  Raises NotFound if there is none, RunError if it is not finished."""
        if not self.finished(name):
            raise RunError(f"Expected a finished run, got {name}, which has no audit yet")
        return load_run(self.folder(name), with_arrays=arrays)

    def report(self, name: str) -> Path:
        """Return the file of a report that shows no image.

        Of a run that shows some, which none of a ledger's does, it is drawn once more without them
        and kept beside the other.

        Raises:
            UnseeError: NotFound if there is no run, RunError if it has no report.

        """
        file, shared = self.folder(name) / REPORT, self.folder(name) / SHARED
        if not file.is_file():
            raise RunError(f"Expected a finished run, got {name}, which has no report yet")
        if is_redacted(self.run(name)):
            return file
        with _draws:  # once, however many ask for it
            if not shared.is_file() or shared.stat().st_mtime < file.stat().st_mtime:
                report(self.run(name, arrays=True), shared, redact=True)
        return shared

    def last_event(self, name: str) -> dict[str, Any] | None:
        """Return the last thing that a run told of itself, None where it has told nothing yet."""
        file = self.folder(name) / EVENTS
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 4096))
            lines = stream.read().split(b"\n")
        for line in reversed(lines[:-1]):  # the last one may be half written
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut by the seek
            return dict(event)
        return None

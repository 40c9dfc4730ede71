"""Run folders below one root, by the names that they have there and by no other path."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unsee.errors import RunError
from unsee.nouns import Run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OF_A_JOB = "run"  # where a worker's job has its run
AUDIT, EVENTS, REPORT, ARRAYS = "audit.json", "events.jsonl", "report.html", "arrays.npz"


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
        places = (self.root / name, self.root / name / OF_A_JOB)
        return next((x for x in places if (x / "config.json").is_file()), None)

    def names(self) -> list[str]:
        """Return the names of the runs, the newest first."""
        if not self.root.is_dir():
            return []
        found = [x for x in self.root.iterdir() if self.has(x.name)]
        return [x.name for x in sorted(found, key=lambda x: (-x.stat().st_mtime, x.name))]

    def folder(self, name: str) -> Path:
        """Return a run's folder; a name is letters, digits, dots and dashes, and no path.

        Raises:
            RunError: if there is none of that name.

        """
        place = self._place(name)
        if place is None:
            raise RunError(f"Expected the name of a run below {self.root.name}, got {name[:100]!r}")
        return place

    def finished(self, name: str) -> bool:
        """Return whether a run has come to its audit."""
        return (self.folder(name) / AUDIT).is_file()

    def run(self, name: str, *, arrays: bool = False) -> Run:
        """Read a run.  Raises RunError if there is none, or it is not finished."""
        folder = self.folder(name)
        try:
            text = (folder / AUDIT).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RunError(
                f"Expected a finished run, got {name}, which has no audit yet"
            ) from error
        found: dict[str, Any] = {}
        if arrays and (folder / ARRAYS).is_file():
            with np.load(folder / ARRAYS, allow_pickle=False) as file:
                found = {key: file[key] for key in file.files}
        return Run.from_json(text, found)

    def report(self, name: str) -> str:
        """Return a run's report.  Raises RunError if there is none."""
        file = self.folder(name) / REPORT
        if not file.is_file():
            raise RunError(f"Expected a finished run, got {name}, which has no report yet")
        return file.read_text(encoding="utf-8")

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

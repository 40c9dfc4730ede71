"""What a person sees while unsee works: a bar on a terminal, else a plain line now and then.

It reads nothing but events, writes nothing but stderr, and a run is the same without it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unsee import memory, ranks
from unsee.events import Event, Listener, listening

EVERY = 5.0  # seconds between two plain lines
Write = Callable[[str], None]


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[None]:
    """Show on stderr what is told inside, and the peak memory; with ``quiet`` only warnings.

    Of a distributed job the first process shows it.
    """
    if not ranks.leads():
        with listening(lambda event: None):
            yield
        return
    if quiet:
        with listening(Warnings(say)):
            yield
        return
    with memory.watching():
        with _shown():
            yield
        say(f"peak memory {memory.peak()}")


@contextmanager
def _shown() -> Iterator[None]:
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bars() as listener, listening(listener):
            yield
    else:
        with listening(Lines(say)):
            yield


def say(line: str) -> None:
    """Print one line to stderr, if there is one; of a distributed job the first process does."""
    if sys.stderr is not None and ranks.leads():  # print would take stdout in its place
        print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""Return one line without control characters: names of files and classes may hold any.

    >>> printable("two\nlines, \x1b[31mred")
    'two lines, \\x1b[31mred'

    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class Warnings:
    """A listener that writes each warning once and nothing else."""

    def __init__(self, write: Write) -> None:
        self.write = write
        self.warned: set[str] = set()  # a run repeats in its log what was told before it began

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.event == "warning" and (line := printable(event.message or "")) not in self.warned:
            self.warned.add(line)
            self.write(f"warning: {line}")


class Lines(Warnings):
    """A listener that writes a line when a stage ends, and every few seconds while it lasts."""

    def __init__(self, write: Write, every: float = EVERY) -> None:
        super().__init__(write)
        self.every, self.written = every, time.monotonic()
        self.begun: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        super().__call__(event)
        now = time.monotonic()
        if event.event == "start":
            self.begun[event.stage] = now
        elif event.event == "end":
            self.write(f"{event.stage}: done in {now - self.begun.get(event.stage, now):.1f} s")
        elif event.event != "progress" or event.done == event.total:
            return
        elif now - self.written >= self.every:
            self.write(f"{event.stage or 'reading'}: {pace(event)}")
        else:
            return
        self.written = now


def pace(event: Event) -> str:
    """Return how far an event of progress is.

    >>> pace(Event(0.0, "train", "progress", 30, 120, 812.4, 83.4))
    '30/120, 812 images/s, 1:23 left'

    """
    parts = [f"{event.done}/{event.total}" if event.total else f"{event.done}"]
    if event.images_per_second:
        parts.append(f"{event.images_per_second:.0f} images/s")
    if event.total and event.seconds_left is not None:
        left = max(round(event.seconds_left), 0)
        parts.append(f"{left // 60}:{left % 60:02d} left")
    return ", ".join(parts)


@contextmanager
def _bars() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description:8}", markup=False),
        BarColumn(20),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bars:
        lines = Lines(console.print, every=float("inf"))  # a bar says what is between

        def listener(event: Event) -> None:
            lines(event)
            if event.event in ("start", "progress") and event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=None, pace="")
            if event.event == "progress":
                facts = {"completed": event.done, "total": event.total or None}
                bars.update(tasks[event.stage], **facts, pace=pace(event))  # type: ignore[arg-type]
            if event.event in ("end", "error") and event.stage in tasks:
                bars.remove_task(tasks.pop(event.stage))

        yield listener

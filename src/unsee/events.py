"""What a run says while it works: one stream that progress bar, events.jsonl and worker all read.

Whoever wants to know listens; the loops and stages below only tell.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from unsee.errors import UnseeWarning

Kind = Literal["start", "progress", "end", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """One line of ``events.jsonl``; what does not apply is None."""

    time: float  # seconds since 1970
    stage: str
    event: Kind
    done: int | None = None  # steps or images, out of ``total``
    total: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    message: str | None = None


Listener = Callable[[Event], None]
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
_stage: ContextVar[str] = ContextVar("stage", default="")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener`` with every event told inside."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def tell(
    event: Kind,
    *,
    done: int | None = None,
    total: int | None = None,
    images_per_second: float | None = None,
    seconds_left: float | None = None,
    message: str | None = None,
) -> None:
    """Tell all listeners; nobody has to listen."""
    for listener in _listeners.get():
        rates = (images_per_second, seconds_left, message)
        listener(Event(time.time(), _stage.get(), event, done, total, *rates))


def warn(message: str) -> None:
    """Tell the owner of a run what does not stop it; without a run, as a Python warning."""
    if _listeners.get():
        tell("warning", message=message)
    else:
        warnings.warn(message, UnseeWarning, stacklevel=3)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the warnings told inside; whoever collects them tells them again, once."""
    notes: list[str] = []

    def collect(event: Event) -> None:
        if event.event == "warning":
            notes.append(event.message or "")
        else:
            for listener in listeners:
                listener(event)

    listeners = _listeners.get()
    token = _listeners.set((collect,))
    try:
        yield notes
    finally:
        _listeners.reset(token)


@contextmanager
def muted() -> Iterator[None]:
    """Tell nobody of the progress inside: steps of a part of a stage are none of the stage."""

    def but_progress(event: Event) -> None:
        if event.event != "progress":
            for listener in listeners:
                listener(event)

    listeners = _listeners.get()
    token = _listeners.set((but_progress,) if listeners else ())
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def unsaid(instead: str) -> Iterator[None]:
    """Tell who listens already that something is said inside, and not what: it may name images."""

    def without_words(event: Event) -> None:
        for listener in listeners:
            listener(event if event.message is None else replace(event, message=instead))

    listeners = _listeners.get()
    token = _listeners.set((without_words,))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name what is being worked on, and tell when it starts, ends or fails."""
    token = _stage.set(name)
    tell("start")
    try:
        yield
        tell("end")
    except BaseException as error:
        tell("error", message=f"{type(error).__name__}: {error}")
        raise
    finally:
        _stage.reset(token)


class Pace:
    """Progress of one loop, told at most twice a second: telling must not slow the loop down."""

    def __init__(self, total: int | None) -> None:
        self.total, self.start, self.told = total, time.perf_counter(), 0.0

    def at(self, done: int, images: float) -> None:
        """Say that ``done`` of ``total`` is reached, and how many images that took."""
        now = time.perf_counter()
        if not _listeners.get() or (now - self.told < 0.5 and done != self.total):
            return
        self.told, elapsed = now, max(now - self.start, 1e-9)
        left = elapsed / done * (self.total - done) if done and self.total is not None else None
        tell(
            "progress",
            done=done,
            total=self.total,
            images_per_second=images / elapsed,
            seconds_left=left,
        )

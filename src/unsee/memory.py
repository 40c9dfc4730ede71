"""How much memory this process and its children take, and have taken at most.

Two numbers: ``total`` is what is resident, with pages of files that are mapped, which the system
drops when it needs the room; ``anonymous`` is what it cannot drop: what was computed or copied.  On
Linux both are read from ``/proc`` (proc_pid_status(5): VmHWM, VmRSS, RssAnon); elsewhere the
anonymous part is not known.
"""

import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.1  # seconds between two looks
CHILDREN = 10  # looks between two searches for children
PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes of this process and its children; pages of one file that two map count in both."""

    total: int
    anonymous: int | None = None  # None: nobody looked, or the system does not tell

    def __str__(self) -> str:
        told = f"{self.total / 2**30:.2f} GiB"
        if self.anonymous is None:
            return told
        return f"{told}, {self.anonymous / 2**30:.2f} GiB of it anonymous"

    def most(self, other: "Memory") -> "Memory":
        """Return the larger of each."""
        known = [x for x in (self.anonymous, other.anonymous) if x is not None]
        return Memory(max(self.total, other.total), max(known) if known else None)


def now() -> Memory:
    """Return what this process and its children take."""
    return _sum(["self", *_children("self")])


def peak() -> Memory:
    """Return the most that was taken: in all since the process began, anonymous while watched."""
    status = _status("self")
    unit = 1 if sys.platform == "darwin" else 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    found = Memory(status.get("VmHWM", highest))
    return found.most(now()).most(_watch.seen) if _watch.users else found


@contextmanager
def watching() -> Iterator[None]:
    """Look at the memory every tenth of a second inside; peaks stay known until the last ends."""
    _watch.begin()
    try:
        yield
    finally:
        _watch.end()


class _Watch:
    """One thread that looks, for however many ask it to."""

    def __init__(self) -> None:
        self.users, self.seen, self.lock = 0, Memory(0), threading.Lock()
        self.stop = threading.Event()

    def begin(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.seen, self.stop = Memory(0), threading.Event()
                look = threading.Thread(target=self._look, args=(self.stop,), name="unsee-memory")
                look.daemon = True
                look.start()

    def end(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.stop.set()

    def _look(self, stop: threading.Event) -> None:
        looks, names = 0, ["self"]
        while True:
            if looks % CHILDREN == 0:
                names = ["self", *_children("self")]
            found = _sum(names)
            with self.lock:
                if stop.is_set():  # what it saw is not of the watch that has begun since
                    return
                self.seen = self.seen.most(found)
            looks += 1
            if stop.wait(EVERY):
                return


def _sum(names: list[str]) -> Memory:
    found = [_status(name) for name in names]
    total = sum(status.get("VmRSS", 0) for status in found)
    known = [status["RssAnon"] for status in found if "RssAnon" in status]
    return Memory(total, sum(known) if known else None)


def _status(name: str) -> dict[str, int]:
    """Return the sizes in bytes that ``/proc/NAME/status`` tells; {} where there is none."""
    try:
        lines = (PROC / name / "status").read_text().splitlines()
    except OSError:  # another system, or a child that has just ended
        return {}
    words = (line.split() for line in lines if line.endswith(" kB"))
    return {key.rstrip(":"): 1024 * int(size) for key, size, _ in words}


def _children(name: str) -> list[str]:
    """Return the numbers of all processes below one, by what its threads started."""
    found: list[str] = []
    for file in (PROC / name / "task").glob("*/children"):
        try:
            own = file.read_text().split()
        except OSError:  # a thread that has just ended
            continue
        for child in own:
            found += [child, *_children(child)]
    return found


_watch = _Watch()

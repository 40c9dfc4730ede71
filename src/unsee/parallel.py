"""Independent pieces of work side by side: :func:`fan_out`, the only place that starts processes.

Everything that trains many models (fleets, grids, sweeps) comes through here, so that there is one
answer to how many at once, with how many threads, and what happens when one of them fails.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from unsee import events, ranks
from unsee.errors import OptionError

Item = TypeVar("Item")
Result = TypeVar("Result")
WATCH = "unsee-parent"  # the name of a thread


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fan_out(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int = 0
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in their order, as they are done.

    Each process computes with its share of the cores: OpenMP threads of several trainings that
    share a core spin and wait for each other.  With one job, or one item, all runs right here.

    Args:
        work: a function that can be pickled; it writes what it makes by itself, so that a killed
            fleet goes on with what is missing.
        items: of which each can be pickled.
        jobs: processes; 0: one a core, and no more than items.

    Raises:
        OptionError: if ``jobs`` is negative.
        Exception: whatever ``work`` raised first; the other processes are stopped.

    """
    if jobs < 0:
        raise OptionError(f"Expected --jobs of 0 (one a core) or more, got {jobs}")
    if not ranks.leads():
        yield from ranks.told([])
        return
    jobs, pace, results = min(jobs or cores(), max(len(items), 1)), events.Pace(len(items)), []
    for done, result in enumerate(_results(work, items, jobs), 1):
        pace.at(done, 0)
        results.append(result)
        yield result
    ranks.told(results)


def _results(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        for item in items:
            with events.muted(), ranks.alone():  # its steps are not those of the whole
                result = work(item)
            yield result
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor

    try:
        with parallel_config("loky", inner_max_num_threads=max(1, cores() // jobs)):
            yield from Parallel(n_jobs=jobs, return_as="generator")(
                delayed(_attached)(work, item, os.getpid()) for item in items
            )
    finally:  # after a signal, too; and what workers have cached is no use to anybody else
        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


def _attached(work: Callable[[Item], Result], item: Item, parent: int) -> Result:
    """Do one piece of work in a process that ends when the one that wants it is gone.

    A killed parent cannot say so, and a training nobody waits for would go on for minutes.
    """
    if not any(thread.name == WATCH for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(parent,), name=WATCH, daemon=True).start()
    return work(item)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)

"""Independent pieces of work side by side: :func:`fan_out`, the only place that starts processes.

Everything that trains many models (fleets, grids, sweeps) comes through here, so that there is one
answer to how many at once, with how many threads, and what happens when one of them fails.  By
default they are processes of this machine; inside :func:`spread` they are those of a Ray cluster.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from unsee import events, ranks
from unsee.errors import OptionError

Item = TypeVar("Item")
Result = TypeVar("Result")
WATCH = "unsee-parent"  # the name of a thread
BACKENDS = ("loky", "ray")
_cluster: ContextVar[str | None] = ContextVar("cluster", default=None)


@contextmanager
def spread(backend: str = "loky", address: str | None = None) -> Iterator[None]:
    """Say where :func:`fan_out` starts its processes inside.

    Args:
        backend: loky, on this machine, or ray, on a cluster that runs already.
        address: of the cluster, ``HOST:PORT``; None: the one of this machine, or of RAY_ADDRESS.

    Raises:
        OptionError: if there is no such backend, or it has no address.

    """
    if backend not in BACKENDS:
        raise OptionError(f"Expected a --backend among {[*BACKENDS]}, got {backend!r}")
    if address and backend != "ray":
        raise OptionError(f"Expected --address with --backend ray alone, got it with {backend!r}")
    token = _cluster.set((address or "auto") if backend == "ray" else None)
    try:
        yield
    finally:
        _cluster.reset(token)


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fan_out(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int = 0, apart: bool = False
) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in their order, as they are done.

    Each process computes with its share of the cores: OpenMP threads of several trainings that
    share a core spin and wait for each other.  With one job, or one item, all runs right here.

    On a cluster each has one thread, and what a machine had when it went is done again on another.

    Args:
        work: a function that can be pickled; it writes what it makes by itself, so that a killed
            fleet goes on with what is missing.
        items: of which each can be pickled.
        jobs: processes; 0: one a core, of the cluster if it is one, and no more than items.
        apart: in processes that start now, even if one is enough: they read the environment.

    Raises:
        OptionError: if ``jobs`` is negative, or the cluster cannot be reached.
        WorkerError: if the cluster loses what it works on again and again.
        Exception: whatever ``work`` raised first; the other processes are stopped.

    """
    if jobs < 0:
        raise OptionError(f"Expected --jobs of 0 (one a core) or more, got {jobs}")
    if not ranks.leads():
        yield from ranks.told([])
        return
    pace, results, address = events.Pace(len(items)), [], _cluster.get()
    if address is None:
        jobs = min(jobs or cores(), max(len(items), 1))
        found = _apart(work, items) if apart and jobs == 1 else _results(work, items, jobs)
    else:
        found = _on_ray(work, items, jobs, address)
    for done, result in enumerate(found, 1):
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

    done = False
    try:
        with parallel_config("loky", inner_max_num_threads=max(1, cores() // jobs)):
            yield from Parallel(n_jobs=jobs, return_as="generator")(
                delayed(_attached)(work, item, os.getpid()) for item in items
            )
        done = True
    finally:  # after a signal, too; and what workers have cached is no use to anybody else
        get_reusable_executor(reuse=True).shutdown(wait=done, kill_workers=True)


def _apart(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """One after another, each in a process that starts for it: joblib starts none for one job."""
    for item in items:
        yield from _results(work, [item], 2)


def _on_ray(
    work: Callable[[Item], Result], items: Sequence[Item], jobs: int, address: str
) -> Iterator[Result]:
    try:
        from unsee.cluster import cluster, cpus
    except ImportError as error:
        raise OptionError(
            f"Expected the package ray for --backend ray, got {error}: pip install 'unsee[ray]'"
        ) from error
    from joblib import Parallel, delayed, parallel_config

    with cluster(address) as backend:
        jobs = min(jobs or cpus(), max(len(items), 1))
        if jobs == 1:
            yield from _results(work, items, jobs)
            return
        with parallel_config(backend):
            yield from Parallel(n_jobs=jobs, pre_dispatch=jobs, return_as="generator")(
                delayed(work)(item) for item in items
            )


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

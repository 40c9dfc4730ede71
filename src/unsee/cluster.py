"""A Ray cluster as a backend of joblib: one task for each piece of work, one CPU for each task.

Ray brings a backend of its own (``ray.util.joblib``), a pool of actors that ask for no CPU.  Tried
on two nodes, all of them went to the first; results come all at once; and where actors may start
again after a lost node, every pool ends with lines of Ray's on stdout.  Tasks wait for a free CPU
wherever there is one, come back one by one, and go to another node when theirs is lost.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout
from typing import Any

import ray
from joblib.parallel import ParallelBackendBase
from ray.exceptions import RayError, RayTaskError

from unsee.errors import OptionError, WorkerError

LOST = 4  # nodes that a piece of work may be on when they go


@contextmanager
def cluster(address: str) -> Iterator["Tasks"]:
    """Connect to a cluster that runs already.

    Args:
        address: ``HOST:PORT``, or auto: that of this machine, or of ``RAY_ADDRESS``.

    Raises:
        OptionError: if none answers.

    """
    handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own there
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OptionError(
            f"Expected a Ray cluster at {address}, got {said[:200]!r}: begin one with "
            "ray start --head, and give its --address"
        ) from error
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        with redirect_stdout(sys.stderr):  # Ray prints what it has to say of lost nodes
            yield Tasks()
    finally:
        ray.shutdown()  # which ends what is under way


def cpus() -> int:
    """Return how many CPUs the connected cluster has."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class Tasks(ParallelBackendBase):  # type: ignore[misc]
    """Runs what joblib hands over as Ray tasks."""

    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many pieces are asked for at once."""
        return n_jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> "Future[Any]":
        """Start a piece of work somewhere."""
        task = ray.remote(num_cpus=1, max_retries=LOST)(_called)
        future: Future[Any] = task.remote(func).future()
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: "Future[Any]") -> Any:
        """Return a result, or raise what the work raised.

        Raises:
            WorkerError: if the cluster has lost it too often.

        """
        try:
            return out.result()
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise WorkerError(
                f"Expected a cluster that ends what it begins, got {type(error).__name__} after "
                f"{LOST + 1} attempts: what is finished is kept; give the same command again"
            ) from error


def _called(func: Callable[[], Any]) -> Any:
    return func()

"""Which process of a distributed job this one is, and what its processes tell each other.

``torchrun`` starts the same command several times.  All processes take the same steps: forward
passes are shared out (:mod:`unsee.distributed`), everything else each computes for itself, to the
same numbers.  The first one leads: it alone writes files and prints.  A process that ``torchrun``
did not start is the only one and leads.  No torch is imported before there is a job to join.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from unsee.errors import WorkerError

Value = TypeVar("Value")
PATIENCE = timedelta(days=7)  # the first may train a fleet meanwhile; who is dead is known at once
ATTEMPT = "TORCHELASTIC_RESTART_COUNT"
HEARD = 2.0  # seconds until it is clear that the first says nothing of an error


@dataclass
class _Job:
    rank: int = 0
    world: int = 1
    store: Any = None  # of words that outlive a process


_job = _Job()
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def begin() -> None:
    """Join the job if ``torchrun`` started this process with others; one GPU for each, if any."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    gpus, local = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if local < gpus:
        torch.cuda.set_device(local)
    with answering():
        store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
        # A job that is started again finds the words of the one before in the same store.
        own = PrefixStore(f"unsee/{os.environ.get(ATTEMPT, '0')}", store)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=own,
            rank=rank,
            world_size=world,
            timeout=PATIENCE,
        )
    _job.rank, _job.world, _job.store = rank, world, own


def end() -> None:
    """Leave the job, if this process joined one."""
    if _job.world > 1:
        from torch import distributed

        distributed.destroy_process_group()
        _job.rank, _job.world, _job.store = 0, 1, None


def rank() -> int:
    """Return which process of the job this is, from 0."""
    return _job.rank


def world() -> int:
    """Return how many processes work on the same thing here: 1 inside :func:`alone`."""
    return 1 if _alone.get() else _job.world


def leads() -> bool:
    """Return whether this is the process that writes and prints."""
    return _job.rank == 0


def gpu_each() -> bool:
    """Return whether there is a GPU for each process of the job on this machine."""
    import torch

    return _job.world == 1 or int(os.environ["LOCAL_WORLD_SIZE"]) <= torch.cuda.device_count()


def restarted() -> bool:
    """Return whether ``torchrun`` has started the job again, after one of its processes ended."""
    return _job.world > 1 and os.environ.get(ATTEMPT, "0") != "0"


@contextmanager
def alone() -> Iterator[None]:
    """Do what is inside without the others, who wait for what comes of it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def answering() -> Iterator[None]:
    """Name the cause where another process does not answer.  Raises WorkerError."""
    try:
        yield
    except RuntimeError as error:  # all that torch.distributed raises
        if "OutOfMemory" in type(error).__name__:
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WorkerError(
            f"Expected all processes of this job to go on, got one that has ended ({said[:100]}): "
            "see what it said itself; the same command goes on from the last finished stage"
        ) from error


def told(value: Value) -> Value:
    """Return the first process's value in all of them; they wait for it."""
    if world() == 1:
        return value
    from torch import distributed

    box = [value]
    with answering():
        distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: Value) -> list[Value]:
    """Return the values of all processes, in their order, in all of them."""
    if world() == 1:
        return [value]
    from torch import distributed

    box: list[Value] = [value] * world()
    with answering():
        distributed.all_gather_object(box, value)
    return box


def same(name: str, value: object) -> None:
    """Refuse a job whose processes differ in what they start from.  Raises WorkerError."""
    if len({*map(repr, values := gathered(value))}) > 1:
        raise WorkerError(
            f"Expected the same {name} in all processes, got {values}: start them on machines "
            "that are alike, with the same files and versions"
        )


def speaks(line: str, *, of_others: bool = False) -> bool:
    """Return whether to print the line with which this process ends.

    The first does.  The others do where it ends without a word, or with another one.

    Args:
        line: what is to be said.
        of_others: whether it only tells that another process ended: any word of the first will do.

    """
    if _job.store is None:
        return True
    key = f"said/{'' if of_others else hashlib.sha256(line.encode()).hexdigest()}"
    if leads():
        for said in ("said/", key):
            _job.store.set(said, "1")
        return True
    end = time.monotonic() + HEARD
    try:
        while not _job.store.check([key]):
            if time.monotonic() > end:
                return True
            time.sleep(0.02)
    except RuntimeError:  # the store went with the first process
        return True
    return False

"""Many short processes, forked from one that has imported everything and has one thread."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST = 300.0  # seconds of one process; then it hangs, and is killed


@dataclass(frozen=True)
class Child:
    """A process to be forked."""

    work: Callable[[], int]  # returns its exit code
    said: Path  # what it prints is added to this file
    stop_after: float | None = None  # seconds; then it is killed from outside


@dataclass(frozen=True)
class Ended:
    """What became of it."""

    code: int  # of exit; negative: of the signal that ended it, or has stopped it
    pid: int
    seconds: float
    at: float  # by the clock that only counts
    hung: bool = False

    @property
    def stopped(self):
        """Whether it is still there, to be continued."""
        return self.code == -signal.SIGSTOP


@dataclass(frozen=True)
class Continue:
    """Let a stopped process go on, and wait for its end."""

    pid: int


class Task:
    """A case: a generator that yields what is to be done next, and is sent what came of it.

    It yields a Child or several that run side by side, a Continue, or seconds to wait.
    """

    def __init__(self, name, case):
        self.name, self.case, self.awake = name, case, 0.0
        self.pids, self.ended, self.alone = [], {}, True

    def answer(self):
        """Return what came of the last step."""
        found = [self.ended[pid] for pid in self.pids]
        self.pids, self.ended = [], {}
        return (found[0] if self.alone else found) if found else None


def each(cases, at_once):
    """Run cases, pairs of a name and a generator, and yield name and result as each one ends."""
    fresh, asleep, busy, begun = iter(cases), [], {}, {}
    more = True
    while more or asleep or busy:
        while len({*map(id, busy.values())}) < at_once:
            due = [task for task in asleep if task.awake <= time.monotonic()]
            if due:
                task = due[0]
                asleep.remove(task)
            elif more and len(asleep) < 8 * at_once:
                pair = next(fresh, None)
                if pair is None:
                    more = False
                    break
                task = Task(*pair)
            else:
                break
            try:
                step = task.case.send(task.answer())
            except StopIteration as done:
                yield task.name, done.value
                continue
            if isinstance(step, float | int):
                task.awake = time.monotonic() + step
                asleep.append(task)
                continue
            task.alone = not isinstance(step, list)
            for one in step if isinstance(step, list) else [step]:
                pid = _started(one)
                task.pids.append(pid)
                busy[pid], begun[pid] = task, (time.monotonic(), one)
        _look(busy, begun, asleep)
        time.sleep(0.003)


def _look(busy, begun, asleep):
    """Note which processes have ended, and end those whose time has come."""
    for pid, task in [*busy.items()]:
        start, one = begun[pid]
        now = time.monotonic()
        seconds = now - start
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if not found:
            after = getattr(one, "stop_after", None)
            if seconds > (LONGEST if after is None else after):
                os.kill(pid, signal.SIGKILL)
                if after is None:
                    os.waitpid(pid, 0)
                    _ended(task, busy, asleep, Ended(-signal.SIGKILL, pid, seconds, now, hung=True))
            continue
        code = -signal.SIGSTOP if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        _ended(task, busy, asleep, Ended(code, pid, seconds, now))


def _ended(task, busy, asleep, ended):
    task.ended[ended.pid] = ended
    del busy[ended.pid]
    if task.ended.keys() >= {*task.pids}:
        task.awake = 0.0
        asleep.insert(0, task)  # before others: so that few folders lie about


def _started(one):
    if isinstance(one, Continue):
        os.kill(one.pid, signal.SIGCONT)
        return one.pid
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        log = os.open(one.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
        code = one.work()
    except SystemExit as asked:
        code = asked.code
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code if isinstance(code, int) else 98)

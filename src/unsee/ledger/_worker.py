"""A worker: takes approved requests, serves them by the one pipeline, and says what became of it.

Several may work on one ledger.  Whatever ends a worker, its job is taken over when its lease ends,
in the same run folder, which goes on from its last finished stage.
"""

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from unsee import events
from unsee.errors import (
    BusyError,
    LeaseError,
    LedgerError,
    ModelError,
    RunError,
    StorageError,
    UnseeError,
)
from unsee.ledger import _jobs as jobs, _models as models
from unsee.ledger._asked import begun
from unsee.ledger._chain import Log
from unsee.ledger._home import settle
from unsee.ledger._jobs import RUN, Job
from unsee.ledger._ledger import Ledger
from unsee.ledger._terms import Scope, name as worker_name
from unsee.ledger._traces import ERROR, clear_ids

if TYPE_CHECKING:
    from unsee.nouns import Config, Run

Pipeline = Callable[["Config", Path], "Run"]
CONFIG, ORIGINAL = "config.json", "original.safetensors"
MODEL, PT = "model.safetensors", "model.pt"
UNSAID = "what is said of the data may name images: the run's events.jsonl has it"


def pipeline(config: "Config", folder: Path) -> "Run":
    """Run the pipeline of ``unsee run``."""
    from unsee.pipeline import run

    return run(config, folder)


class Worker:
    """One worker on a ledger.

    Args:
        ledger: whose requests it serves.
        folder: for its jobs, ``job-00001`` and so on; on a disk that all workers of it share.
        name: of this worker, for the log.
        run: what serves a request; :func:`unsee.run` by default.
        lease: seconds after which another worker takes over, unless this one says that it lives.
        poll: seconds between two looks where there was nothing to do.

    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        *,
        name: str,
        run: Pipeline = pipeline,
        lease: float = 60.0,
        poll: float = 2.0,
    ) -> None:
        self.ledger, self.folder, self.run = ledger, folder, run
        self.name = worker_name(name)
        self.lease, self.poll = lease, poll

    def serve(self, *, once: bool = False) -> None:
        """Work until the process is stopped, or ``once``: until nothing is left to do."""
        while True:
            try:
                busy = self.step()
            except (BusyError, LedgerError, StorageError) as error:
                if once:
                    raise
                # A lease that nobody could end ends by itself, and the run folder keeps the work.
                events.warn(f"the ledger is away, and is asked again: {error}")
                busy = False
            if not busy and once:
                return
            if not busy:
                time.sleep(self.poll)

    def step(self) -> bool:
        """Do one job; False: there is none.

        Raises:
            OptionError: if the jobs in the folder are another ledger's.
            UnseeError: if the ledger fails; what a run raises is noted down instead.

        """
        with self.ledger.reading() as connection:
            settle(connection, self.folder)
        with self.ledger.writing() as log:
            job = jobs.claim(log, self.name, self.lease, self.folder)
        if job is None:
            return False
        try:
            with Heart(self, job) as heart:
                if served := self._served(job, heart):
                    self._finish(job, served)
        except BaseException as error:
            if not isinstance(error, Exception):  # a signal: another worker may go on at once
                with suppress(UnseeError):  # the ledger is away: the lease ends by itself
                    self._say(lambda log: jobs.hand_back(log, job, self.name))
            raise
        return True

    def _served(self, job: Job, heart: "Heart") -> "Served | None":
        """Run the pipeline; None: it came to nothing, and the ledger knows why."""
        begun = (job.folder / RUN / CONFIG).exists()
        try:
            with events.unsaid(UNSAID), events.listening(heart.listen):
                return served(job, self.run)
        except LeaseError as error:
            events.warn(str(error))
        except BusyError:  # who held it is still alive, or another run has its folder
            self._say(lambda log: jobs.hand_back(log, job, self.name, pause=self.lease))
        except Exception as error:
            # What a dead worker began was begun otherwise: an earlier request closed meanwhile.
            self._failed(job, error, anew=begun and isinstance(error, RunError))
            return None
        return None

    def _finish(self, job: Job, done: "Served") -> None:
        def words(log: Log) -> None:
            if jobs.held(log.connection, job):
                files = {"original": done.original, "made": done.made}
                model = models.replace(log.connection, job.line, **files)
                jobs.finish(log, job, self.name, model, done.light, done.kind, done.gaps)
                # Before the commit: a worker killed behind it would leave them for good, and one
                # killed before it is taken over by one that writes them anew.
                clear_ids(job.folder)

        self._say(words)

    def _failed(self, job: Job, error: Exception, *, anew: bool) -> None:
        from unsee.folder import write

        kind, told = type(error).__name__, traceback.format_exc()
        where = _raised_at(error)  # not its text, which may name images: logs are kept for long
        text = job.folder / ERROR
        events.warn(f"job {job.number}, requests {[*job.requests]}: {kind} at {where}: see {text}")

        def words(log: Log) -> None:
            jobs.fail(log, job, self.name, kind, anew=anew)
            clear_ids(job.folder)

        if self._say(words):
            with suppress(OSError):  # the disk may be what failed; stderr has the place
                job.folder.mkdir(parents=True, exist_ok=True)
                write(job.folder / ERROR, told.encode(errors="backslashreplace"))

    def _say(self, words: Callable[[Log], None]) -> bool:
        """Write something down; False: the job, and its folder, is another worker's by now."""
        try:
            with self.ledger.writing() as log:
                words(log)
        except LeaseError as error:
            events.warn(str(error))
            return False
        return True


def _raised_at(error: BaseException) -> str:
    """Return file and line that raised an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@dataclass(frozen=True)
class Served:
    """What came of a run: files with digests, light and kind of its verdict, what it left out."""

    original: tuple[Path, str]
    made: tuple[Path, str]
    light: str
    kind: str = ""
    gaps: dict[str, list[str]] = field(default_factory=dict)


def served(job: Job, run: Pipeline) -> Served:
    """Let a pipeline serve a job in its folder.

    Raises:
        ModelError: if the model that it begins with is not the one that was made, before or after.
        Exception: what the pipeline raises.

    """
    from unsee.folder import digest
    from unsee.verdict._gaps import gaps

    config, folder = configured(job), job.folder / RUN
    given = folder / ORIGINAL if config.model is None else Path(config.model)
    before = None if config.model is None else digest(given)
    done = run(config, folder)
    model = folder / PT if (folder / PT).exists() else folder / MODEL  # as the original came
    original, made = (given, digest(given)), (model, digest(model))
    if before not in (None, original[1]):
        raise ModelError(f"Expected {given} untouched by the run, got another file")
    if made[1] == original[1]:
        raise ModelError(
            "Expected a model that has changed, got the one before: the method changes nothing, or "
            "the guard has kept the original; the run's report says which"
        )
    light, kind = (str(done.verdict.get(x, y)) for x, y in (("light", "grey"), ("kind", "")))
    return Served(original, made, light, kind, gaps(done))


class Heart:
    """A thread that says every now and then that a worker lives, while it works."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self.worker, self.job = worker, job
        self.stopped, self.lost = threading.Event(), threading.Event()
        context = copy_context()  # so that a warning finds who listens
        self.thread = threading.Thread(target=context.run, args=(self._beat,), daemon=True)

    def __enter__(self) -> "Heart":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def listen(self, _: events.Event) -> None:
        """Stop a run whose lease is lost: what it makes would be refused."""
        if self.lost.is_set():
            raise LeaseError(
                f"Expected to hold job {self.job.number} until it is done, got another worker that "
                "took it over: this one stops"
            )

    def _beat(self) -> None:
        ledger, lease = self.worker.ledger, self.worker.lease
        while not self.stopped.wait(lease / 4):
            try:
                with ledger.beating() as connection:
                    jobs.beat(connection, self.job, lease)
            except LeaseError:
                self.lost.set()
                return
            except (UnseeError, SQLAlchemyError) as error:  # it may come back in time
                events.warn(f"no sign of life could be given: {error}")


def configured(job: Job) -> "Config":
    """Return what the pipeline is to do; ids are written to files in the job's folder.

    Raises:
        ModelError: if the model in use is not the one that was made.

    """
    names = [f"{jobs.EARLIER}{n:05d}.txt" for n in range(1, len(job.earlier) + 1)]
    earlier = tuple(_rule(job.folder, *pair) for pair in zip(job.earlier, names, strict=True))
    forget = _rule(job.folder, job.scope, "forget.txt")
    return begun(job.config, job.model, forget, earlier)


def _rule(folder: Path, scope: Scope, name: str) -> str:
    if scope.kind != "ids":
        return scope.rule
    from unsee.folder import write

    path = folder / name
    content = "".join(f"{x}\n" for x in scope.values).encode()
    if not path.exists() or path.read_bytes() != content:
        folder.mkdir(parents=True, exist_ok=True)
        write(path, content)
    return f"ids={path}"

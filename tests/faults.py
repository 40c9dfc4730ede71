"""Faults of real system calls in a process: the n-th write that fails, a signal at the n-th moment.

A small library of C, built with ``cc`` when it is first needed and loaded before the C library,
stands between a process and its file system: what Python asks of it and what SQLite asks.
"""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "faults.c"
ONCE, FROM_THEN_ON, SHORT = range(3)  # how calls fail: as in faults.c
CALL = re.compile(r"call-(\d+)-(\w+)")


def why_not():
    """Say why faults cannot be made here; nothing if they can."""
    if not sys.platform.startswith("linux"):
        return f"faults of system calls need Linux, this is {sys.platform}"
    return "" if shutil.which("cc") else "needs a compiler of C: apt-get install gcc libc6-dev"


def library():
    """Build the library, once for each state of its source, and return its path."""
    made = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"unsee-faults-{os.getuid()}-{made}.so"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        build = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", part, SOURCE, "-ldl"]
        subprocess.run([*map(str, build)], check=True)
        part.replace(path)
    return path


def environment():
    """Return what a process needs to have its calls counted, and to have one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    alone = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # of pyarrow
    return os.environ | one | alone | {"LD_PRELOAD": str(library())}


@dataclass(frozen=True)
class Moment:
    """One line of a trace."""

    number: int  # from 1, of the main thread or of all others
    others: bool
    stage: str
    what: (
        str  # begin, end, progress, step; call-N-KIND before a call, did-KIND or failed-KIND after
    )
    path: str  # below the folder that is watched; "-": no file

    @property
    def call(self):
        """The number and the kind of a call that is about to be made, or None."""
        found = CALL.fullmatch(self.what)
        return (int(found[1]), found[2]) if found else None


def moments(trace):
    """Read a trace."""
    rows = []
    for line in Path(trace).read_text().splitlines():
        number, others, stage, what, path = line.split(" ", 4)
        # Names of parts hold process and chance: what is written to them is what counts.
        path = re.sub(r"\.\d+-[0-9a-f]{8}\.part$", ".part", path)
        rows.append(Moment(int(number), others == "1", stage, what, path))
    return rows


class Process:
    """This process, which was started with :func:`environment`, and what is to go wrong in it."""

    def __init__(self):
        self.library = ctypes.CDLL(None)

    def watch(self, folder, trace, *, sent=signal.SIGKILL, at=0, beat=0):
        """Number calls and moments from here on, and send a signal at one of them.

        Args:
            folder: below which calls are counted; its real path.
            trace: a file outside of it.
            sent: the signal.
            at: the moment of this thread; 0: none.
            beat: the moment of all other threads; 0: none.

        """
        long = ctypes.c_long
        names = os.fsencode(folder), os.fsencode(trace)
        self.library.faults_watch(*names, int(sent), long(at), long(beat))

    def fail(self, code, how, *, at=0, beat=0):
        """Let the call of that number fail with an error, and those behind it if asked to."""
        self.library.faults_fail(int(code), how, ctypes.c_long(at), ctypes.c_long(beat))

    def clock(self, seconds):
        """Let the clock of the wall be wrong."""
        self.library.faults_clock(ctypes.c_long(seconds))

    def stage(self, name):
        """Name what is worked on."""
        self.library.faults_stage(name.encode())

    def moment(self, what):
        """Tell a moment that is no call."""
        self.library.faults_moment(what.encode())


FULL, BROKEN = errno.ENOSPC, errno.EIO
WRITTEN = {  # what can go wrong with a call, by its kind: the error, and how often
    "write": [(FULL, ONCE), (BROKEN, ONCE), (FULL, SHORT), (FULL, FROM_THEN_ON)],
    "sync": [(BROKEN, ONCE), (FULL, ONCE), (FULL, FROM_THEN_ON)],
    "rename": [(FULL, ONCE), (BROKEN, ONCE), (FULL, FROM_THEN_ON)],
    "create": [(FULL, ONCE), (BROKEN, ONCE), (FULL, FROM_THEN_ON)],
    "mkdir": [(FULL, ONCE), (BROKEN, ONCE), (FULL, FROM_THEN_ON)],
    "truncate": [(BROKEN, ONCE)],
    "unlink": [(BROKEN, ONCE)],
}

"""From exceptions to exit codes: whatever happens, a command ends in one number and one line."""

import errno
import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import cast

import typer

import unsee
from unsee import console, memory, ranks
from unsee.errors import UnseeError, WorkerError

BUG, BAD_INPUT, STORAGE, MEMORY, CLOSED_PIPE = 1, 2, 5, 6, 141
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
PACKAGES = {"site-packages", "dist-packages"}
NEW_ISSUE = "please report it, with the lines above"
# The root of what is wrong with an argument list; typer exports only this leaf of it.
UsageError = cast("type[Exception]", typer.BadParameter.__base__)


class Stopped(SystemExit):
    """A signal asked this process to end; it unwinds, so no file is left half written."""


def guarded(command: Callable[[], int | None]) -> int:
    """Run ``command`` and return the exit code, after one line on stderr where it failed.

    A bug shows its traceback, ours or that of the code that was brought along.
    """
    try:
        code = command() or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # else a closed pipe would be noticed when nobody can handle it
        return code
    except typer.Exit as done:
        return done.exit_code
    except Stopped as stopped:
        say("stopped: nothing is half written; a run that has begun goes on with --resume")
        return cast("int", stopped.code)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush when the interpreter ends
        return CLOSED_PIPE
    except Exception as error:
        code, line = verdict(error)
        if code == BUG or own_code(error):
            sys.excepthook(type(error), error, error.__traceback__)
        say(line, of_others=isinstance(error, WorkerError))
        return code


def verdict(error: Exception) -> tuple[int, str]:
    """Return the exit code for an exception, and the line that tells its owner what to do."""
    if isinstance(error, UnseeError):
        return error.exit_code, str(error)
    if isinstance(error, UsageError):
        hint = "" if "--help" in str(error) else "; see --help"
        return BAD_INPUT, f"{_formatted(error).rstrip('.')}{hint}"
    if _is_memory(error):
        return (
            MEMORY,
            f"Expected enough memory, got: {str(error) or _peak()}: free some",
        )
    if isinstance(error, OSError):
        if error.errno in FULL:
            return STORAGE, f"Expected a disk that takes what is written, got: {error}"
        return BAD_INPUT, f"Expected readable files, got: {error}"
    if place := own_code(error):
        told = " ".join(str(error).split())[:300]
        return BAD_INPUT, f"Expected {place} to do its work, got {type(error).__name__}: {told}"
    return BUG, f"this is a bug in unsee ({type(error).__name__}): {NEW_ISSUE}"


def own_code(error: Exception) -> str:
    """Return file and line of the last step in code that came along, such as a factory; or "".

    That is what neither unsee nor anything installed has; an error of ours is told as ours.
    """
    if isinstance(error, UnseeError):
        return ""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"{error.filename}:{error.lineno}"  # no step has been in it yet
    installed = (Path(sysconfig.get_path("stdlib")), Path(unsee.__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        known = PACKAGES & {*path.parts} or any(map(path.is_relative_to, installed))
        if path.is_file() and not known:
            return f"{path}:{frame.lineno}"
    return ""


def _formatted(error: Exception) -> str:
    text: str = getattr(error, "format_message", error.__str__)()
    return text


def _is_memory(error: Exception) -> bool:
    """Tell exhausted memory from other errors, without importing torch for its kinds of them."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool({"MemoryError", "OutOfMemoryError"} & names) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _peak() -> str:
    return f"{memory.peak().total / 2**30:.2f} GiB were in use at most"


def say(line: str, *, of_others: bool = False) -> None:
    """Print one line to stderr, whatever is in it.

    Of a distributed job every process prints what the first does not say as well.

    Args:
        line: what to print.
        of_others: whether it only tells that another process ended.

    """
    words = f"unsee: {console.printable(line)}"
    if not ranks.speaks(line, of_others=of_others):
        return
    if ranks.leads():
        console.say(words)
    elif sys.stderr is not None:
        print(f"unsee: process {ranks.rank()}: {words[7:]}", file=sys.stderr, flush=True)


def listen_for_signals() -> None:
    """Let SIGINT and SIGTERM unwind the process; a second one ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Stopped(128 + number)

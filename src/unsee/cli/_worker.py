"""``unsee worker`` and ``unsee models``: serve approved requests, and what came of it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._request import HERE, By, Json, Url, claimed, ledger
from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.ledger import Model, Purged

LONGEST = 24 * 3600.0  # seconds that a dead worker may hold a request, or a lazy one may sleep


@app.command()
def worker(
    folder: Annotated[
        str, Option("--folder", metavar="DIR", help="For the runs; the same for all workers.")
    ] = "jobs",
    lease: Annotated[
        float,
        Option(
            "--lease",
            metavar="SECONDS",
            help="After which another worker takes over from one that gives no sign of life.",
        ),
    ] = 60.0,
    poll: Annotated[
        float, Option("--poll", metavar="SECONDS", help="Between two looks for work.")
    ] = 2.0,
    once: Annotated[bool, Option("--once", help="End when nothing is left to do.")] = False,
    by: Annotated[
        str | None, Option("--as", metavar="NAME", help="Of this worker; else host and process.")
    ] = None,
    quiet: flags.Quiet = False,
    url: Url = HERE,
) -> None:
    """Serve approved requests, one run after another; several workers may share the work.

    A worker that is stopped hands its work back; one that is killed is taken over when its lease
    ends, and the run goes on from its last finished stage.
    """
    if not (0 < lease <= LONGEST and 0 < poll <= LONGEST):
        raise OptionError(
            f"Expected seconds above 0, a day at most, got --lease {lease} --poll {poll}"
        )
    import os
    import socket

    from unsee import console

    name = by or f"worker {socket.gethostname()}:{os.getpid()}"
    with ledger(url) as opened, console.progress(quiet=quiet):
        from unsee.ledger import Worker

        work = Worker(opened, Path(folder), name=name, lease=lease, poll=poll)
        work.serve(once=once)


@app.command()
def models(json_: Json = False, url: Url = HERE) -> None:
    """List the models of a ledger: which is in use, and which came from which."""
    with ledger(url) as opened:
        found = opened.models()
    if json_:
        print(json.dumps([asdict(model) for model in found], indent=1, default=str))
    else:
        print("\n".join(_listed(found)))


@app.command()
def purge(
    number: Annotated[
        int | None, Argument(metavar="[ID]", help="A closed request; else all that are closed.")
    ] = None,
    also: Annotated[
        list[str] | None,
        Option(
            "--also",
            metavar="PATH",
            help="A run, a fleet or a buffer that was made of the images elsewhere; repeatable.",
        ),
    ] = None,
    by: By = None,
    url: Url = HERE,
) -> None:
    """Delete what was kept of the images of closed requests, and retire models that knew them.

    Of the runs that served them go thumbnails, scores, logs and digests of the ids; then the models
    that were replaced, backups of the ledger, and what --also names.
    """
    if also and number is None:
        raise OptionError("Expected the ID of a request with --also, got none")
    with ledger(url) as opened:
        closed = [r.number for r in opened.requests() if not r.open]
        for one in closed if number is None else [number]:
            done = opened.purge(one, by=claimed(by), also=[Path(path) for path in also or ()])
            print(f"request {one}: {done.files} files deleted, models retired: {_named(done)}")
            for text in done.left:
                print(f"  left  {text}")


def _named(done: "Purged") -> str:
    return ", ".join(map(str, done.retired)) or "none"


def _listed(found: list["Model"]) -> list[str]:
    from unsee.console import printable

    lines = [f"{'id':>5}  {'from':>5}  {'line':>5}  {'state':10}  {'sha256':12}  file"]
    for model in found:
        parent = "" if model.parent is None else str(model.parent)
        lines.append(
            f"{model.number:5}  {parent:>5}  {model.line:5}  {model.state:10}  "
            f"{model.sha256[:12]}  {printable(str(model.path))}"
        )
    return lines

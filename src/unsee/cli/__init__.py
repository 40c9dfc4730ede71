"""The command line: one short function per verb, which calls the Python API."""

import sys

from typer.main import get_command

from unsee import ranks
from unsee.cli._app import app as app
from unsee.cli._bench import bench as bench
from unsee.cli._buffer import buffer as buffer
from unsee.cli._certificate import certify as certify, keys as keys, verify as verify
from unsee.cli._compare import compare as compare
from unsee.cli._fleets import oracles as oracles, policy as policy
from unsee.cli._guard import guarded, listen_for_signals
from unsee.cli._ledger import ledger as ledger
from unsee.cli._request import request as request
from unsee.cli._run import run as run
from unsee.cli._sequence import sequence as sequence
from unsee.cli._serve import serve as serve
from unsee.cli._stages import (
    audit as audit,
    explain as explain,
    train as train,
    unlearn as unlearn,
)
from unsee.cli._tables import methods as methods, report as report
from unsee.cli._together import together
from unsee.cli._worker import models as models, purge as purge, worker as worker
from unsee.errors import WorkerError

VERBS = (  # in the order of --help and of docs/cli.md: the main road, its stages, what reads runs
    *("run", "sequence", "oracles", "train", "buffer", "unlearn", "audit", "explain"),
    *("report", "compare", "certify", "verify", "methods", "policy", "worker", "models", "purge"),
    "serve",
    *("bench", "keys", "request", "ledger"),  # groups of verbs; they stand last
)
app.registered_commands.sort(key=lambda verb: VERBS.index(verb.callback.__name__))  # type: ignore[union-attr]
app.registered_groups.sort(key=lambda group: VERBS.index(str(group.name)))


def call(*arguments: str) -> int:
    """Run one command line and return its exit code."""
    command = get_command(app)

    def invoke() -> int | None:
        with command.make_context("unsee", [*arguments]) as context:
            code: int | None = command.invoke(context)
            return code

    return guarded(invoke)


def main() -> int:
    """Run the command line of this process and return its exit code."""
    joined = guarded(lambda: together(*sys.argv[1:]))  # a signal ends what waits for others at once
    listen_for_signals()
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.path.append("")  # for --arch your_module:factory; last, so that it shadows nothing
    code = joined or call(*sys.argv[1:])
    if code != WorkerError.exit_code:  # who is gone cannot be taken leave of
        ranks.end()
    return code

"""``unsee request``: erasure requests, from the day they come in to the day they close."""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._request_shown import images, shown, what
from unsee.cli._tables import catalogue
from unsee.errors import LedgerError, OptionError, SplitError

if TYPE_CHECKING:
    from unsee.ledger import Ledger

request = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(request, name="request", help="Erasure requests: what is asked, decided and done.")

_url = Option(
    "--ledger",
    envvar="UNSEE_LEDGER",
    metavar="URL",
    help="A file of SQLite, or postgresql://USER@HOST/DATABASE; also UNSEE_LEDGER.",
)
Url = Annotated[str, _url]
NoUrl = Annotated[str | None, _url]  # where a ledger may be left out
By = Annotated[str | None, Option("--as", metavar="NAME", help="Who you are; recorded as claimed.")]
Why = Annotated[str, Option("--why", metavar="TEXT", help="The reason; it stays for good.")]
Forget = Annotated[
    str | None,
    Option("--forget", metavar="RULE", help="class=3, ids=FILE, where=COLUMN:VALUE, path=GLOB."),
]
LARGEST = 2**31 - 1  # number that a column of the ledger holds
Number = Annotated[int, Argument(metavar="ID", min=1, max=LARGEST, help="The number of a request.")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
HERE = "ledger.sqlite"


def library() -> ModuleType:
    """Load what a ledger needs: SQLAlchemy.  Raises LedgerError if it is not installed."""
    try:
        gc.disable()  # nothing is garbage yet, and looking for it is an eighth of the time
        return import_module("unsee.ledger")
    except ImportError as error:
        raise LedgerError(
            f"Expected SQLAlchemy and alembic for a ledger, got {error}: "
            "pip install 'unsee[ledger]'"
        ) from error
    finally:
        gc.enable()


@contextmanager
def ledger(url: str, *, create: bool = False) -> Iterator["Ledger"]:
    """Open a ledger.  Raises LedgerError if it cannot be opened."""
    with library().Ledger(url, create=create) as opened:
        yield opened


def claimed(by: str | None) -> str:
    """Return who somebody says to be.  Raises OptionError if nobody does."""
    return flags.required(by, "--as", "ana")


@request.command()
def add(
    context: Context,  # the flags are read from it by name: one field of Config each
    subject: Annotated[
        str,
        Argument(
            metavar="SUBJECT",
            help="What your own system calls the person, such as case-4711; never a name.",
        ),
    ],
    forget: Forget = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    validation: flags.Validation = None,
    arch: flags.Arch = None,
    model: flags.Model = None,
    init: flags.Init = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    include_twins: flags.IncludeTwins = False,
    method: flags.Method = "snu_deep",
    set_: flags.Set = None,
    epochs: flags.Epochs = None,
    retain_fraction: flags.RetainFraction = 0.1,
    buffer: flags.Buffer = None,
    guard: flags.Guard = 0.1,
    tune: flags.Tune = 0,
    train_epochs: flags.TrainEpochs = 12,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    oracle: flags.Oracle = "none",
    policy: flags.Policy = None,
    received: Annotated[
        str | None, Option("--received", metavar="DATE", help="When it came in; else today.")
    ] = None,
    due: Annotated[
        str | None,
        Option("--due", metavar="DATE", help="Else one calendar month after it came in."),
    ] = None,
    by: By = None,
    why: Why = "",
    url: Url = HERE,
) -> None:
    """Register a request; its model, data and method are named as for unsee run.

    Prints its number.  A ledger is made where there is none.
    """
    rule, who = flags.required(forget, "--forget", "ids=FILE"), claimed(by)
    if method not in (known := catalogue()) and ".py:" not in method:
        raise OptionError(f"Expected a --method among {[*known]} or path.py:name, got {method!r}")
    config = flags.config_of(context, forget="", redact=True)
    terms = library()
    dates: dict[str, Any] = {
        "received": terms.day(received) if received else None,
        "due": terms.day(due) if due else None,
    }
    terms.subject(subject)
    terms.scope(rule)
    config.check_ranges()
    config = terms.absolute(config)
    with ledger(url, create=True) as opened:  # nothing is made where something is wrong
        print(opened.add(subject, config, by=who, rule=rule, why=why, **dates))


@request.command("list")
def list_(
    all_: Annotated[bool, Option("--all", help="Also those that are closed.")] = False,
    most: Annotated[
        int,
        Option("--most", metavar="N", min=0, max=LARGEST, help="Requests that are listed; 0: all."),
    ] = 100,
    json_: Json = False,
    url: Url = HERE,
) -> None:
    """List the open requests, the one that is due first at the front."""
    with ledger(url) as opened:
        found = opened.requests(open_only=not all_, limit=most or None)
        total = opened.count(open_only=not all_)
        today = opened.clock().date()
    if len(found) < total:
        print(f"the first {len(found)} of {total}: --most 0 lists all", file=sys.stderr)
    if json_:
        print(json.dumps([asdict(request) for request in found], indent=1, default=str))
        return
    print(f"{'id':>5}  {'due':10} {'days':>5}  {'state':16}  {'what':14}  subject")
    for request in found:
        left = f"{(request.due - today).days:5}" if request.open else " " * 5
        print(
            f"{request.number:5}  {request.due} {left}  {request.state:16}  "
            f"{what(request):14}  {request.subject}"
        )


@request.command()
def show(
    number: Number,
    scope: Annotated[
        bool, Option("--scope", help="Also which images: its rule or ids, until it closes.")
    ] = False,
    json_: Json = False,
    url: Url = HERE,
) -> None:
    """Show a request, its checklist and what the log has of it."""
    with ledger(url) as opened:
        found, rows = opened.show(number), opened.entries(number)
        answers, models = opened.answers(number), opened.replaced_by(number)
        about = opened.scope(number) if scope else None
    if json_:
        events = [asdict(row) for row in rows]
        record = asdict(found) | {"checklist": answers, "events": events}
        record["models"] = [asdict(model) for model in models]
        record |= {"scope": about and asdict(about)} if scope else {}
        print(json.dumps(record, indent=1, default=str))
    else:
        print("\n".join(shown(found, rows, answers, models)))
        if scope:
            print("\n".join(images(about)))


@request.command()
def preview(number: Number, quiet: flags.Quiet = False, url: Url = HERE) -> None:
    """Count what a request would touch if its run began now; code that it names is run for that.

    Data and model are read, a few batches are timed, and nothing is written.
    """
    from unsee.ledger import as_it_begins, without_files

    with ledger(url) as opened:
        found, asked = opened.show(number), opened.asked(number)
    words = what(found) if found.kind == "ids" else asked.scope.rule
    with as_it_begins(asked) as config:
        from unsee.cli._rehearsal import rehearse

        try:
            rehearse(config, words, quiet=quiet)
        except SplitError as error:
            raise SplitError(without_files(str(error), words)) from error


@request.command()
def approve(number: Number, by: By = None, why: Why = "", url: Url = HERE) -> None:
    """Let a worker serve a request; not by the one who added it."""
    with ledger(url) as opened:
        opened.approve(number, by=claimed(by), why=why)


@request.command()
def refuse(number: Number, by: By = None, why: Why = "", url: Url = HERE) -> None:
    """Close a request without serving it, and say why."""
    with ledger(url) as opened:
        opened.refuse(number, by=claimed(by), why=why)


@request.command()
def extend(
    number: Number,
    until: Annotated[
        str | None, Option("--until", metavar="DATE", help="The new due date.")
    ] = None,
    by: By = None,
    why: Why = "",
    url: Url = HERE,
) -> None:
    """Put the due date of a request off, and say why."""
    day = library().day(flags.required(until, "--until", "2026-12-24"))
    with ledger(url) as opened:
        opened.extend(number, day, by=claimed(by), why=why)


@request.command()
def close(
    number: Number,
    done: Annotated[
        list[str] | None,
        Option(
            "--done",
            metavar="ITEM",
            help="An item of the checklist that is done: source, backups, caches, exports, "
            "recipients; repeatable.",
        ),
    ] = None,
    not_done: Annotated[
        list[str] | None,
        Option("--not-done", metavar="ITEM:WHY", help="One that will not be; repeatable."),
    ] = None,
    partly: Annotated[bool, Option("--partly", help="It was served in part only: --why.")] = False,
    by: By = None,
    why: Why = "",
    url: Url = HERE,
) -> None:
    """Close an audited request once its checklist is answered, and forget what it was about."""
    pairs = [text.partition(":") for text in not_done or []]
    if wrong := [name for name, _, said in pairs if not said.strip()]:
        raise OptionError(f'Expected --not-done "ITEM: why", got no reason for {wrong}')
    refused = {name.strip(): said for name, _, said in pairs}
    with ledger(url) as opened:
        print(
            opened.close(
                number, by=claimed(by), why=why, partly=partly, done=done or [], not_done=refused
            )
        )


@request.command()
def answer(number: Number, url: Url = HERE) -> None:
    """Print the answer to the person: done, in part, later or not, and what was not tested."""
    with ledger(url) as opened:
        print(opened.answer(number))

"""``unsee ledger``: is the log as it was written, and a copy for others."""

from typing import Annotated

import typer
from typer import Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._request import HERE, Url, ledger as opened_ledger
from unsee.errors import ChainError, OptionError

ledger = typer.Typer(rich_markup_mode=None, add_completion=False)
app.add_typer(ledger, name="ledger", help="The log of all requests: verify it, export it.")


@ledger.command()
def verify(
    expect: Annotated[
        str | None,
        Option("--expect", metavar="HASH", help="A last hash that was printed before."),
    ] = None,
    url: Url = HERE,
) -> None:
    """Read the whole log and name the first row that is not as it was written.

    Prints how many rows there are and the last hash.  Keep that hash elsewhere: with --expect a log
    whose end was cut off is told from one that ends there.
    """
    with opened_ledger(url) as ledger:
        found = ledger.verify(expect)
    if found.bad is not None:
        raise ChainError(
            f"Expected the log as it was written, got row {found.bad}, which {found.why}: "
            f"{found.count} rows up to {found.last} stand"
        )
    print(f"{found.count} rows, last hash {found.last}")


@ledger.command()
def export(
    out: Annotated[
        str | None, Option("--out", metavar="FILE", help="A new file, .json or .csv.")
    ] = None,
    force: flags.ForceFile = False,
    url: Url = HERE,
) -> None:
    """Write requests and log as JSON, or the log as CSV; ids and keys are no part of either."""
    path = flags.new_file(out, force=force, like="log.csv")
    if path.suffix not in (".json", ".csv"):
        raise OptionError(f"Expected --out with the suffix .json or .csv, got {path.name!r}")
    from unsee import folder

    with opened_ledger(url) as ledger:
        text = ledger.export(path.suffix[1:])
    folder.write(path, text.encode())
    print(path)

"""The application that all verbs register with.  What they need is imported when they run."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class RoadFirst(TyperGroup):
    """Single verbs before groups of verbs: the main road is what most people look for."""

    def list_commands(self, context: Any) -> list[str]:
        """Return the names in the order of --help."""
        return sorted(self.commands, key=lambda name: hasattr(self.commands[name], "commands"))


app = typer.Typer(
    cls=RoadFirst,
    rich_markup_mode=None,  # a third of a second of every --help
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"unsee {version('unsee')}")
        raise typer.Exit


@app.callback()
def unsee(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make an image classifier unsee some of its training images, and show the evidence.

    Results go to stdout; progress, warnings and errors to stderr.

    Exit codes: 0 done; 1 a bug of unsee; 2 bad input, nothing was written; 3 done, and a --require
    or a check of a certificate, a ledger or a benchmark failed; 4 another process works there;
    5 the disk; 6 memory; 7 another process of a distributed job ended; 130 and 143 interrupted.
    """

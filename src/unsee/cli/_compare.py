"""The verb that puts finished runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.nouns import Run

NAME, CELL = 24, 18  # columns of a measurement's name, of a value with its interval
SHOWN = (80 - NAME) // CELL  # values in one row


@app.command()
def compare(
    runs: Annotated[list[str], Argument(metavar="RUN RUN...", help="Run folders, two or more.")],
    out: Annotated[
        str | None, Option("--out", metavar="FILE", help="Write it as one HTML page, too.")
    ] = None,
    force: flags.ForceFile = False,
) -> None:
    """Put runs side by side, with paired differences from the first.

    Where two runs audited the same images each image is compared with itself; else only the
    intervals stand side by side.
    """
    if len(runs) < 2:
        raise OptionError(f"Expected two or more run folders, got {len(runs)}: name another RUN")
    path = flags.new_file(out, force=force) if out else None
    from unsee import folder, reporting

    done = [folder.load_run(Path(run)) for run in runs]
    names = called(runs)
    if path:
        folder.write(path, reporting.compare(done, names).encode())
    print(told(done, names))
    if path:
        print(path)


def called(runs: list[str]) -> list[str]:
    """Return short names for run folders, all different."""
    short = [Path(run).resolve().name or run for run in runs]
    return [name if short.count(name) == 1 else f"{n + 1}:{name}" for n, name in enumerate(short)]


def told(done: "list[Run]", names: list[str]) -> str:
    """Return the comparison in lines of at most 80 columns."""
    from unsee.cli._summary import MAIN, clipped, interval, verdict
    from unsee.console import printable
    from unsee.reporting import beside

    lines = []
    shown = [printable(name) for name in names]
    for name, run in zip(shown, done, strict=True):
        lines.append(clipped(f"{name}: {printable(run.method or 'unlearned elsewhere')}"))
        lines += [f"  {line}" for line in verdict(run, 78)] or ["  not judged"]
    columns = [("original", done[0], "original"), ("retrained", done[0], "retrained")]
    columns = [c for c in columns if c[2] in done[0].measurements]
    columns += [(name, run, "unlearned") for name, run in zip(shown, done, strict=True)]
    for first in range(0, len(columns), SHOWN):
        some = columns[first : first + SHOWN]
        heads = (clipped(head, CELL - 1) for head, _, _ in some)
        lines += ["", " " * NAME + "".join(f"{head:>{CELL}}" for head in heads)]
        for key in MAIN:
            values = [run.measurements.get(model, {}).get(key) for _, run, model in some]
            if any(values):
                row = "".join(f"{interval(value):>{CELL}}" for value in values)
                lines.append(f"{key:{NAME}}{row}")
    for other in beside(done, shown)[1:]:
        lines += ["", clipped(f"{other.name} less {shown[0]}, image by image")]
        if other.why:
            lines.append(clipped(f"  nothing is paired: {other.why}"))
        for d in other.differences:
            m = d.measured
            apart = " *" if m.low > 0 or m.high < 0 else ""
            ends = f"{m.low:+.4f} to {m.high:+.4f}"
            lines.append(f"  {d.name:{NAME}} {m.value:+.4f}  {ends}  n {m.n}{apart}")
        if other.differences:
            lines.append("  95 % intervals over images; * excludes 0")
    return "\n".join(lines)

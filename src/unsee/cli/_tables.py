"""Verbs that read and print: report, methods."""

import json
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app

if TYPE_CHECKING:
    from unsee.methods import Method


@app.command()
def report(
    run: Annotated[str, Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        str | None, Option("--out", metavar="FILE", help="Else RUN/report.html, made anew.")
    ] = None,
    redact: flags.Redact = False,
    force: flags.ForceFile = False,
) -> None:
    """Make the page of a finished run, redacted to share it."""
    path = flags.new_file(out, force=force) if out else Path(run, "report.html")
    from unsee import folder, reporting

    done = folder.load_run(Path(run))
    done = reporting.redacted(done) if redact else done
    folder.write(path, reporting.page(done).encode())
    print(path)


@app.command()
def methods(
    name: Annotated[str | None, Argument(metavar="[NAME]", help="One method in full.")] = None,
    json_: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the unlearning methods, or the options of one."""
    from unsee.methods import METHODS, find

    chosen = [find(name)] if name else [*METHODS.values()]
    if json_:
        facts = [described(method) for method in chosen]
        print(json.dumps(facts[0] if name else facts, indent=1))
    elif name:
        print(form(chosen[0]))
    else:
        for method in chosen:
            print(fill(f"{method.name:12} {method.summary}", 80, subsequent_indent=" " * 13))


def described(method: "Method") -> dict[str, Any]:
    """Return what is known about a method, as JSON takes it."""
    facts = ("name", "title", "summary", "paper", "data", "exact", "options")
    choices = {name: [*values] for name, values in method.choices.items()}
    return {fact: getattr(method, fact) for fact in facts} | {"choices": choices}


def form(method: "Method") -> str:
    """Return what is known about a method, in lines of at most 80 columns."""
    shown = {
        "all": "all images to keep",
        "forget": "no images to keep",
        "buffer": "a retain buffer",
    }
    lines = [
        f"{method.name}: {method.title}{' (exact)' if method.exact else ''}",
        fill(method.summary, 80),
        f"paper  {method.paper}",
        f"sees   the images to forget and {shown[method.data]}",
    ]
    for name, default in method.options.items():
        choices = f"  of {', '.join(method.choices[name])}" if name in method.choices else ""
        kind = type(default).__name__
        lines.append(f"  --set {f'{name}={default}':22} {kind}{choices}")
    return "\n".join(lines)

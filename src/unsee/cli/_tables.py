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

Facts = dict[str, Any]
CATALOGUE = Path(__file__).with_name("_methods.json")


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
    known = catalogue()
    chosen = [known[name] if name in known else _outside(name)] if name else [*known.values()]
    if json_:
        print(json.dumps(chosen[0] if name else chosen, indent=1))
    elif name:
        print(form(chosen[0]))
    else:
        for facts in chosen:
            line = f"{facts['name']:12} {facts['summary']}"
            print(fill(line, 80, subsequent_indent=" " * 13))


def catalogue() -> dict[str, Facts]:
    """Return what is known about every method of the package, by its name.

    ``scripts/methods.py`` writes it down: to read signatures takes torch, which takes seconds.
    """
    known: dict[str, Facts] = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return known


def _outside(name: str) -> Facts:
    """Return what is known about a method of ``path.py:name``; an OptionError if there is none."""
    from unsee.methods import find

    return described(find(name))


def described(method: "Method") -> Facts:
    """Return what is known about a method, as JSON takes it."""
    kept = ("name", "title", "summary", "paper", "data", "exact", "options")
    choices = {name: [*values] for name, values in method.choices.items()}
    return {fact: getattr(method, fact) for fact in kept} | {"choices": choices}


def form(facts: Facts) -> str:
    """Return what is known about a method, in lines of at most 80 columns."""
    shown = {
        "all": "all images to keep",
        "forget": "no images to keep",
        "buffer": "a retain buffer",
    }
    lines = [
        f"{facts['name']}: {facts['title']}{' (exact)' if facts['exact'] else ''}",
        fill(facts["summary"], 80),
        f"paper  {facts['paper']}",
        f"sees   the images to forget and {shown[facts['data']]}",
    ]
    for name, default in facts["options"].items():
        choices = facts["choices"].get(name)
        known = f"  of {', '.join(choices)}" if choices else ""
        kind = type(default).__name__
        lines.append(f"  --set {f'{name}={default}':22} {kind}{known}")
    return "\n".join(lines)

"""Write docs/cli.md from what the command line knows of itself; with --check only compare."""

import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from unsee.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# Command line

`python scripts/cli_docs.py` writes this page; `unsee VERB --help` says the same.

Results go to stdout; progress, warnings and errors to stderr. Words in capitals beside a verb, such
as `RUN`, stand there without a flag; in brackets they may be left out. A flag that says **needed**
has no default: without it the verb says what is lacking, and ends with exit code 2.

| exit code | means |
|---|---|
| 0 | done |
| 1 | a bug of unsee, told with a traceback |
| 2 | bad input; one line on stderr says what, where, and what to do. \
Nothing was written, but what a run had finished before it was found, such as a model trained \
first. Where the fault lies in a method or a factory of your own its traceback stands before the \
line |
| 3 | done, and a `--require`, a `bench check` or a check of `unsee verify` failed |
| 3 | the guard saw what stays harmed, or a loss was not finite: \
no model was written, the original is as it was |
| 3 | of `unsee ledger verify`: the ledger is not as it was written |
| 4 | another process works in the run folder, or held the ledger for longer than one waits |
| 5 | the disk refused a write |
| 6 | too little memory, on the machine or on the device |
| 7 | another process of a job under `torchrun` has ended, or differs; the same command goes on |
| 130, 143 | interrupted; `unsee run --resume DIR` goes on |
| 141 | nobody reads stdout any more |
"""

# What a verb refuses to work without, though its parser lets it by: so that the error can say more.
MODELS = ("--original", "--unlearned", "--forget", "--out")
NEEDED: dict[str, tuple[str, ...]] = {
    "run": ("--forget", "--out"),
    "sequence": ("--forget", "--out"),
    "oracles": ("--forget", "--out"),
    "train": ("--out",),
    "buffer": ("--out", "--model"),
    "unlearn": ("--model", "--forget", "--out"),
    "audit": MODELS,
    "explain": MODELS,
    "certify": ("--key",),
    "purge": ("--as",),
    "request add": ("--forget", "--as"),
    "request approve": ("--as",),
    "request refuse": ("--as", "--why"),
    "request extend": ("--until", "--as", "--why"),
    "request close": ("--as",),
    "ledger export": ("--out",),
}
UNLESS = {"--out": ("--dry-run", "--resume"), "--forget": ("--resume",)}  # of unsee run


def needed(verb: str, words: Collection[str]) -> list[str]:
    """Return which flags a verb needs and does not find among these words."""
    free = UNLESS if verb == "run" else {}
    return [
        flag
        for flag in NEEDED.get(verb, ())
        if flag not in words and not {*free.get(flag, ())} & {*words}
    ]


def page() -> str:
    """Return the text of docs/cli.md."""
    verbs: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return "\n".join([HEAD, *(_section(name, verb) for name, verb in _leaves("", verbs))])


def _leaves(before: str, verbs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every verb with its whole name: those of a group one by one."""
    for name, verb in verbs.items():
        inner = getattr(verb, "commands", None)
        yield from _leaves(f"{before}{name} ", inner) if inner else [(before + name, verb)]


def _section(name: str, verb: Any) -> str:
    arguments = [p for p in verb.params if p.param_type_name == "argument"]
    usage = " ".join(["unsee", name, *(argument.metavar for argument in arguments)])
    rows = [f"| {_form(p)} | {_cell(p.help)} | {_default(name, p)} |" for p in verb.params]
    table = ["| flag | what | default |", "|---|---|---|", *rows]
    return "\n".join([f"## `{usage}`", "", " ".join(verb.help.split()), "", *table, ""])


def _form(parameter: Any) -> str:
    """Return a flag as it is typed: ``--set KEY=VALUE``."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    names = ", ".join(parameter.opts)
    return f"`{names}`" if parameter.is_flag else f"`{names} {parameter.metavar}`"


def _default(verb: str, parameter: Any) -> str:
    flag = parameter.opts[0]
    if flag in NEEDED.get(verb, ()):
        free = UNLESS.get(flag, ()) if verb == "run" else ()
        return f"**needed**{' but with ' if free else ''}{' or '.join(f'`{x}`' for x in free)}"
    shown = parameter.default not in (None, "") and parameter.default is not False
    return f"`{parameter.default}`" if shown else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text(encoding="utf-8") != page() and f"{PAGE} is stale: run this script")
    PAGE.write_text(page(), encoding="utf-8")

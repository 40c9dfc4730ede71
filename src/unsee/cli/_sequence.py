"""``unsee sequence``: requests one after another on the same model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.nouns import History, Measurement

HEADS = ("retain", "test", "before", "after", "now")
MOST = 1000  # requests in one sequence; more is a slip of the keyboard


@app.command()
def sequence(
    context: Context,  # the flags are read from it by name: one field of Config each
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
    forget: Annotated[
        list[str] | None,
        Option(
            "--forget",
            metavar="RULE",
            help="A request, as for unsee run; repeatable, in the order of the requests.",
        ),
    ] = None,
    times: Annotated[
        int,
        Option("--times", metavar="N", help="All of them so often, such as random=1% ten times."),
    ] = 1,
    include_twins: flags.IncludeTwins = False,
    method: flags.Method = "snu_deep",
    set_: flags.Set = None,
    epochs: flags.Epochs = None,
    retain_fraction: flags.RetainFraction = 0.1,
    buffer: flags.Buffer = None,
    guard: flags.Guard = 0.1,
    tune: flags.Tune = 0,
    earlier: flags.Earlier = None,
    train_epochs: flags.TrainEpochs = 12,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    oracle: Annotated[
        str,
        Option(
            "--oracle",
            metavar="WHAT",
            help="What to compare with in the end: none, retrain (one model without the images of "
            "all requests), or a checkpoint trained so.",
        ),
    ] = "none",
    policy: flags.Policy = None,
    out: Annotated[
        str | None, Option("--out", metavar="DIR", help="The sequence's folder, new or begun.")
    ] = None,
    redact: flags.Redact = False,
    json_: Annotated[
        bool, Option("--json", help="Print sequence.json on stdout and nothing else.")
    ] = False,
    quiet: flags.Quiet = False,
    force: Annotated[bool, Option("--force", help="Remove what is in --out first.")] = False,
) -> None:
    """Serve requests one after another on the same model, and ask about all of them after each.

    Each request is a run of its own, in DIR/01, DIR/02, ...; a table tells whether a later one
    undid an earlier one.  A stopped call goes on when it is given again, and one with more --forget
    behind the same ones adds to them.
    """
    flags.required((forget or [""])[0], "--forget", "random=1%")
    rules = [*(forget or ())] * times
    if not 1 <= len(rules) <= MOST:
        raise OptionError(f"Expected 1 to {MOST} requests, got {len(rules)}: mind --times")
    folder = Path(flags.required(out, "--out", "runs/sequence"))
    if folder.is_file():
        raise OptionError(f"Expected a folder, got the file {folder}: name another")
    config = flags.config_of(context, forget="")
    from unsee import console, sequences

    with console.progress(quiet=quiet):
        found = sequences.sequence(config, rules, folder, begun="replace" if force else "continue")
    print((folder / "sequence.json").read_text() if json_ else told(found, folder))


def told(found: "History", folder: Path) -> str:
    """Return a history in lines of at most 80 columns."""
    from unsee.cli._summary import clipped
    from unsee.console import printable

    what = f"{len(found.requests)} requests on {printable(found.data)} by {found.method}"
    lines = [
        clipped(what),
        f"{'accuracy':>55}{'on what was forgotten':>24}",
        "".join(
            (f"{'  n  rule':17}{'images':>7}{'s':>7}{'light':>8}", *(f"{x:>8}" for x in HEADS))
        ),
    ]
    for place, (request, then) in enumerate(zip(found.requests, found.after, strict=True)):
        values = [
            request.before.get("forget_accuracy"),
            *(s.requests[place].get("forget_accuracy") for s in (then, found.after[-1])),
        ]
        utility = (then.utility.get(name) for name in ("retain_accuracy", "test_accuracy"))
        seconds = "" if request.seconds is None else f"{request.seconds:.1f}"
        lines.append(
            f"{request.number:3}  {clipped(printable(request.rule), 12):12}{request.count:7,}"
            f"{seconds:>7}{request.light:>8}{''.join(map(_cell, (*utility, *values)))}"
        )
    if found.retrained is not None:
        utility = (found.retrained.utility.get(n) for n in ("retain_accuracy", "test_accuracy"))
        again = "".join(_cell(m) for m in utility)
        lines.append(f"{'     retrained without them all':39}{again}")
    if gap := found.gaps.get("test_accuracy"):
        lines.append(
            f"test accuracy less the retrained model's: {gap.value:+.4f} "
            f"({gap.low:+.4f} to {gap.high:+.4f})"
        )
    lines.append(f"tables  {printable(str(folder / 'sequence.md'))}")
    return "\n".join(lines)


def _cell(m: "Measurement | None") -> str:
    return f"{'-' if m is None else f'{m.value:.3f}':>8}"

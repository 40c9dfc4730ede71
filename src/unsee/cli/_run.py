"""``unsee run``: from data to report in one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from unsee import ranks
from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._guard import say
from unsee.errors import OptionError, RunError

if TYPE_CHECKING:
    from unsee.folder import Begun
    from unsee.nouns import Config, Run

FAILED = 3
NOT_OF_THE_RUN = {
    "out",
    "resume",
    "dry_run",
    "json_",
    "quiet",
    "force",
    "jobs",
    "backend",
    "address",
}  # not kept in config.json


@app.command()
def run(
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
    forget: flags.Forget = None,
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
            help="What to compare with: none, retrain (train without the forget set), a checkpoint "
            "trained so, or a folder of several: see unsee oracles.",
        ),
    ] = "none",
    policy: flags.Policy = None,
    out: Annotated[
        str | None, Option("--out", metavar="DIR", help="The run folder, which must be new.")
    ] = None,
    resume: Annotated[
        str | None,
        Option("--resume", metavar="DIR", help="Go on with a stopped run; needs no other flag."),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what would be touched and how long; write nothing.")
    ] = False,
    jobs: Annotated[
        int, Option("--jobs", metavar="N", help="Processes that measure a fleet; 0: one a core.")
    ] = 0,
    audits: flags.Audits = None,
    audit_retain: flags.AuditRetain = None,
    backend: flags.Backend = "loky",
    address: flags.Address = None,
    redact: flags.Redact = False,
    json_: Annotated[
        bool, Option("--json", help="Print audit.json on stdout and nothing else.")
    ] = False,
    quiet: flags.Quiet = False,
    force: Annotated[bool, Option("--force", help="Remove a run that is in --out first.")] = False,
    require: Annotated[
        list[str] | None,
        Option(
            "--require",
            metavar="CONDITION",
            help='End with exit code 3 unless "forget_accuracy<=0.01" or the like; repeatable.',
        ),
    ] = None,
) -> int:
    """Let a model unsee images, measure what is left, and report.

    Without --model one is trained first.  Writes a run folder: the models, audit.json, arrays.npz,
    figures and report.html.
    """
    config = _resumed(context, Path(resume)) if resume else flags.config_of(context)
    flags.required(config.forget, "--forget", "class=3")
    if dry_run:
        return _rehearse(config, as_json=json_, quiet=quiet)
    folder = Path(resume or flags.required(out, "--out", "runs/first"))
    if folder.is_file():
        raise OptionError(f"Expected a folder, got the file {folder}: name another")
    from unsee import console, parallel, pipeline

    begun: Begun = "continue" if resume else "replace" if force else "refuse"
    if ranks.world() > 1 and (begun == "refuse" or ranks.restarted()):
        begun = "continue"  # a scheduler gives the same command again
    with console.progress(quiet=quiet), parallel.spread(backend, address):
        done = pipeline.run(config, folder, begun=begun, jobs=jobs)
    if json_:
        print((folder / "audit.json").read_text())
    else:
        from unsee.cli._summary import summary

        print(summary(done, folder))
    return _judged(done, config.require)


def _resumed(context: Context, folder: Path) -> "Config":
    """Read the Config of a stopped run.

    Raises:
        RunError: if the folder holds none.
        OptionError: if the command line asks for something else than the run was begun with.

    """
    from unsee.folder import CONFIG
    from unsee.nouns import Config

    try:
        begun = Config.from_json((folder / CONFIG).read_text())
    except OSError as error:
        raise RunError(f"Expected a run folder to --resume, got {folder}: {error}") from error
    asked, named = flags.config_of(context), flags.given(context)
    fields = {"set_": "options", "epochs": "options"}
    other = [
        name
        for name in sorted(named - NOT_OF_THE_RUN)
        if getattr(asked, fields.get(name, name)) != getattr(begun, fields.get(name, name))
    ]
    elsewhere = "out" in named and Path(context.params["out"]).resolve() != folder.resolve()
    other += [
        name for name, differs in (("out", elsewhere), ("force", "force" in named)) if differs
    ]
    if other:
        shown = [f"--{name.strip('_').replace('_', '-')}" for name in other]
        raise OptionError(
            f"Expected --resume to go on as {folder} was begun, got other flags: {shown}: leave "
            "them out, or start a new run with --out"
        )
    return begun


def _rehearse(config: "Config", *, as_json: bool, quiet: bool) -> int:
    if as_json:
        raise OptionError("Expected --json or --dry-run, got both: a dry run measures nothing")
    from unsee.cli._rehearsal import rehearse

    rehearse(config, quiet=quiet)
    return 0


def _judged(done: "Run", conditions: tuple[str, ...]) -> int:
    """Say which conditions ``done`` fails, and return the exit code."""
    from unsee.requirements import parse

    names = {*done.measurements["unlearned"]}
    failures = [parse(text, names).failure(done) for text in conditions]
    for failure in filter(None, failures):
        say(failure)
    return FAILED if any(failures) else 0

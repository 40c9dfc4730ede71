"""The stages of a run, each alone, on files: train, unlearn, audit, explain."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.nouns import Run

OutFile = Annotated[str | None, Option("--out", metavar="FILE", help="The checkpoint to write.")]
OutFolder = Annotated[str | None, Option("--out", metavar="DIR", help="A new folder.")]
Original = Annotated[str | None, Option("--original", metavar="FILE", help="The model before.")]
Unlearned = Annotated[str | None, Option("--unlearned", metavar="FILE", help="The model after.")]
Retrained = Annotated[
    str | None,
    Option(
        "--retrained",
        metavar="PATH",
        help="A model trained without the forget set, or a folder of several: see unsee oracles.",
    ),
]


@contextmanager
def _stage(name: str, *, quiet: bool) -> Iterator[None]:
    from unsee import console, events, ranks

    ranks.told(None)  # all have looked at what is there before anything is written
    with console.progress(quiet=quiet), events.stage(name):
        yield


@app.command()
def train(
    context: Context,
    out: OutFile = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    arch: flags.Arch = None,
    init: flags.Init = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    forget: flags.Forget = None,
    include_twins: flags.IncludeTwins = False,
    train_epochs: Annotated[
        int, Option("--epochs", "--train-epochs", metavar="N", help="Passes over the images.")
    ] = 12,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    quiet: flags.Quiet = False,
    force: flags.ForceFile = False,
) -> None:
    """Train a model, or train one without the forget set.

    The files are those that `unsee run` writes as original.safetensors and retrained.safetensors.
    """
    path = flags.new_file(out, force=force, inputs=(init,))
    flags.named_as(path, "safetensors")
    config = flags.config_of(context)
    from unsee import erasure, folder, models, preparation

    with _stage("train", quiet=quiet):
        bench = preparation.lay_out(config)
        split = preparation.chosen_split(bench) if forget else None
        model = erasure.trained(bench, split, "retrain" if split else "train")
        folder.write(path, models.pack(models.Checkpoint(model.state_dict(), bench.facts)))
    print(path)


@app.command()
def unlearn(
    context: Context,
    model: flags.GivenModel = None,
    forget: flags.Forget = None,
    out: OutFile = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    validation: flags.Validation = None,
    arch: flags.Arch = None,
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
    earlier: flags.Earlier = None,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    quiet: flags.Quiet = False,
    force: flags.ForceFile = False,
) -> None:
    """Let a model unsee images, and write it as it came.

    Container, names and number types are those of --model, which stays as it is.
    """
    given = flags.required(model, "--model", "base.safetensors")
    flags.required(forget, "--forget", "class=3")
    path = flags.new_file(out, force=force, inputs=(given, init))
    config = flags.config_of(context)
    from unsee import erasure, folder, models, pipeline, preparation
    from unsee.console import say
    from unsee.reporting import safety

    with _stage("unlearn", quiet=quiet):
        job = preparation.prepare(config)
        before = job.given or models.read(Path(given))
        flags.named_as(path, before.container)
        told: dict[str, Any] = {}
        after = pipeline.alike(job, before, erasure.unlearned(job, job.load(before), facts=told))
        pack = models.pack_pt if before.container == "pt" else models.pack
        folder.write(path, pack(after))
    if not quiet:
        for name, said in safety(told["guard"], told["tuning"]):
            say(f"{name}: {said}")
    print(path)


@app.command()
def audit(
    context: Context,
    original: Original = None,
    unlearned: Unlearned = None,
    retrained: Retrained = None,
    forget: flags.Forget = None,
    out: OutFolder = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    validation: flags.Validation = None,
    buffer: flags.Buffer = None,
    arch: flags.Arch = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    include_twins: flags.IncludeTwins = False,
    earlier: flags.Earlier = None,
    audits: flags.Audits = None,
    audit_retain: flags.AuditRetain = None,
    policy: flags.Policy = None,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    redact: flags.Redact = False,
    quiet: flags.Quiet = False,
    force: flags.ForceFile = False,
) -> None:
    """Measure what models still know of what was forgotten.

    Writes audit.json, arrays.npz and report.html.
    """
    place = _new_folder(out, ("audit.json", "arrays.npz", "report.html"), force=force)
    done = _compared(context, "audit")
    from unsee import folder, reporting

    files = {
        "arrays.npz": folder.pack_arrays(done.arrays),
        "audit.json": done.to_json().encode(),
        "report.html": reporting.page(done).encode(),
    }
    _write_all(place, files)
    print(place / "report.html")


@app.command()
def explain(
    context: Context,
    original: Original = None,
    unlearned: Unlearned = None,
    retrained: Retrained = None,
    forget: flags.Forget = None,
    out: OutFolder = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    validation: flags.Validation = None,
    buffer: flags.Buffer = None,
    arch: flags.Arch = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    include_twins: flags.IncludeTwins = False,
    earlier: flags.Earlier = None,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    redact: flags.Redact = False,
    quiet: flags.Quiet = False,
    force: flags.ForceFile = False,
) -> None:
    """Show where models look before and after, by Grad-CAM.

    Writes figures/*.svg, and an audit.json with the figures of that evidence alone.
    """
    place = _new_folder(out, ("audit.json", "figures"), force=force)
    done = _compared(context, "explain", "evidence")
    from unsee import reporting

    drawn = {f"figures/{name}.svg": text.encode() for name, text in reporting.figures(done).items()}
    _write_all(place, drawn | {"audit.json": done.to_json().encode()})
    print(place / "figures")


def _compared(context: Context, stage: str, *names: str) -> "Run":
    """Audit the models that a command line names; by ``names`` only some audits."""
    flag = context.params
    original = flags.required(flag["original"], "--original", "original.safetensors")
    after = flags.required(flag["unlearned"], "--unlearned", "model.safetensors")
    flags.required(flag["forget"], "--forget", "class=3")
    config = flags.config_of(context, model=original, oracle=flag["retrained"] or "none")
    from unsee import auditing, audits, events, models, preparation, reporting

    with _stage(stage, quiet=flag["quiet"]), events.noted() as notes:
        job = preparation.prepare(config)
        done = auditing.audit(
            job.split,
            original=job.load(models.read(Path(original))),
            unlearned=job.load(models.read(Path(after))),
            retrained=[job.load(models.read(path)) for path in job.oracles],
            seed=config.seed,
            policy=job.policy,
            audits=audits.asked(names) if names else job.audits,
            audit_retain=config.audit_retain,
            notes=tuple(notes),
        )
        return reporting.redacted(done) if config.redact else done


def _new_folder(name: str | None, files: tuple[str, ...], *, force: bool) -> Path:
    """Return the path of a folder that is new, or in which only ``files`` may be replaced.

    Raises:
        OptionError: if it holds anything and ``force`` is not set.

    """
    path = Path(flags.required(name, "--out", "audits/first"))
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not force)):
        hint = f"name another, or replace {', '.join(files)} in it with --force"
        raise OptionError(f"Expected a new folder for --out, got {path}, which exists: {hint}")
    return path


def _write_all(place: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder that is made for them; leave nothing new behind if one fails."""
    from unsee import ranks
    from unsee.folder import write

    if not ranks.leads():
        return
    before = {*place.rglob("*")} if place.exists() else None
    try:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write(place / name, content)
    except BaseException:
        if before is None:
            shutil.rmtree(place, ignore_errors=True)
        else:
            for new in {place / name for name in files} - before:
                new.unlink(missing_ok=True)
        raise

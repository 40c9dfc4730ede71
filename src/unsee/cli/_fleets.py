"""Verbs for verdicts: oracles, policy."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app


@app.command()
def oracles(
    context: Context,  # the flags are read from it by name: one field of Config each
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    validation: flags.Validation = None,
    arch: flags.Arch = None,
    model: Annotated[
        str | None,
        Option("--model", metavar="FILE", help="The model to be judged: these are built as it is."),
    ] = None,
    init: flags.Init = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    forget: flags.Forget = None,
    include_twins: flags.IncludeTwins = False,
    earlier: flags.Earlier = None,
    models: Annotated[
        int, Option("--models", metavar="K", help="How many; 8 for a green verdict, 16 per image.")
    ] = 16,
    first_seed: Annotated[
        int, Option("--first-seed", metavar="N", help="Of the seeds N, N + 1, ...")
    ] = 0,
    unlearned: Annotated[
        bool,
        Option("--unlearned", help="As many again, trained with the images, then unlearned."),
    ] = False,
    method: flags.Method = "snu_deep",
    set_: flags.Set = None,
    epochs: flags.Epochs = None,
    retain_fraction: flags.RetainFraction = 0.1,
    guard: flags.Guard = 0.1,
    train_epochs: flags.TrainEpochs = 12,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    jobs: Annotated[
        int, Option("--jobs", metavar="N", help="Processes side by side; 0: one a core.")
    ] = 0,
    backend: flags.Backend = "loky",
    address: flags.Address = None,
    out: Annotated[
        str | None, Option("--out", metavar="DIR", help="The fleet's folder, new or begun.")
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Train a fleet of models without the forget set, for `unsee run --oracle DIR`.

    Trained once: models that are there already are left, so a stopped call goes on when it is
    given again, and a larger --models adds to them. --seed draws a random forget set; the models
    have seeds of their own.
    """
    folder = Path(flags.required(out, "--out", "runs/oracles"))
    flags.required(forget, "--forget", "class=3")
    config = flags.config_of(context)
    from unsee import console, fleets, parallel

    with console.progress(quiet=quiet), parallel.spread(backend, address):
        made = fleets.oracles(
            config,
            folder,
            models=models,
            first_seed=first_seed,
            with_unlearned=unlearned,
            jobs=jobs,
        )
    spent = sum(facts["seconds"] for facts in made)
    print(f"{len(made)} models of this fleet are there; training them took {spent:.0f} s of work")
    print(f"next    unsee run ... --oracle {folder}")


@app.command()
def policy() -> None:
    """Print the policy of the verdict, to start your own from."""
    from unsee.verdict import default_words

    print(default_words(), end="")

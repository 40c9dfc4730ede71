"""``unsee buffer``: images to keep for when the training images are gone."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.errors import OptionError

OF_A_PICK = {"retain_fraction": "--retain-fraction", "pick": "--pick"}


@app.command()
def buffer(
    context: Context,
    out: Annotated[str | None, Option("--out", metavar="FILE", help="The buffer to write.")] = None,
    data: flags.Source = "digits",
    classes: flags.Classes = None,
    size: flags.Size = None,
    arch: flags.Arch = None,
    model: flags.GivenModel = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    output_layer: flags.OutputLayer = None,
    retain_fraction: Annotated[
        float,
        Option("--retain-fraction", metavar="SHARE", help="Of the training images; 0: none."),
    ] = 0.1,
    pick: Annotated[
        str,
        Option("--pick", metavar="HOW", help="random; or coverage, by the features of the model."),
    ] = "random",
    buffer: Annotated[
        str | None, Option("--buffer", metavar="FILE", help="One to take images out of: --without.")
    ] = None,
    without: Annotated[
        str | None,
        Option("--without", metavar="RULE", help="As --forget: what leaves the --buffer."),
    ] = None,
    earlier: flags.Earlier = None,
    include_twins: flags.IncludeTwins = False,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    quiet: flags.Quiet = False,
    force: flags.ForceFile = False,
) -> None:
    """Store images to keep when the model is trained, for --buffer when the others are gone.

    Holds the images chosen, of each class its share, and what all training images say together:
    counts, means and one covariance of features, statistics of batch norm. No other image.
    With --buffer and --without it empties a buffer of what is forgotten.
    """
    if (buffer is None) is not (without is None):
        raise OptionError("Expected --buffer and --without together, to take images out, got one")
    odd = [flag for name, flag in OF_A_PICK.items() if name in flags.given(context)]
    odd += ["--earlier"] if earlier else []
    if buffer and odd:
        raise OptionError(f"Expected no {' and '.join(odd)} with --buffer: it is chosen already")
    given = flags.required(model, "--model", "original.safetensors")
    path = flags.new_file(out, force=force, inputs=(given,))
    config = flags.config_of(context)
    from unsee import (
        buffers,
        console,
        data as sources,
        events,
        folder,
        matching,
        models,
        preparation,
    )

    with console.progress(quiet=quiet), events.stage("buffer"):
        bench, digest = preparation.lay_out(config), buffers.digest_of(given)
        checkpoint = bench.given or models.read(Path(given))
        if bench.buffer is not None and without is not None:
            made = buffers.emptied(
                bench.buffer,
                bench.data,
                without,
                seed=seed,
                include_twins=include_twins,
                model=bench.load(checkpoint) if digest == bench.buffer.made_for else None,
            )
        else:
            left = sources.without(bench.data, config.earlier, include_twins=include_twins)
            matching.knows_its_images(bench.load(checkpoint), left.part("train"))
            made = buffers.make(
                bench.load(checkpoint),
                left,
                share=retain_fraction,
                pick=pick,
                seed=seed,
                made_for=digest,
            )
        folder.write(path, made.pack())
    print(path)

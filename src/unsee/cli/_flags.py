"""The flags that several verbs share, and the Config that they make: one field per flag."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Option

from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.nouns import Config

Source = Annotated[
    str,
    Option(
        "--data",
        metavar="SOURCE",
        help="digits, or mnist: fashion-mnist: cifar10: parquet: folder: npz: before a path; "
        "backdoor: or mislabel: before either of them spoils it.",
    ),
]
Classes = Annotated[
    str | None,
    Option("--classes", metavar="FILE", help="Class names, one a line, in the order of labels."),
]
Size = Annotated[
    int | None,
    Option(
        "--size", metavar="PIXELS", help="Bring images to this square; else as the source has it."
    ),
]
Validation = Annotated[
    str | None,
    Option(
        "--validation",
        metavar="ids=FILE",
        help="Images that the model has not seen, for methods that tune.",
    ),
]
Arch = Annotated[
    str | None,
    Option(
        "--arch",
        metavar="NAME",
        help="resnet18:cifar-pool (also :cifar, :imagenet), convnet, a torchvision name, "
        "timm:NAME, or package.module:factory; else as the checkpoint says.",
    ),
]
Model = Annotated[
    str | None,
    Option("--model", metavar="FILE", help="The trained model; without it one is trained."),
]
GivenModel = Annotated[
    str | None, Option("--model", metavar="FILE", help="The trained model; none is trained here.")
]
Init = Annotated[
    str | None,
    Option("--init", metavar="FILE", help="A checkpoint that training and retraining start from."),
]
Mean = Annotated[
    str | None,
    Option("--mean", metavar="M,M,M", help="Per channel, in 0..1; else as the checkpoint says."),
]
Std = Annotated[str | None, Option("--std", metavar="S,S,S", help="Likewise.")]
OutputLayer = Annotated[
    str | None,
    Option("--output-layer", metavar="NAME", help="If not the last linear layer that runs."),
]
Forget = Annotated[
    str | None,
    Option(
        "--forget",
        metavar="RULE",
        help="class=3, class=cat,dog, ids=FILE, where=COLUMN:VALUE, path=GLOB, random=10%.",
    ),
]
IncludeTwins = Annotated[
    bool, Option("--include-twins", help="Also forget exact copies of forgotten images.")
]
Method = Annotated[
    str,
    Option("--method", metavar="NAME", help="See `unsee methods`; or path.py:name, of your own."),
]
Set = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="An option of the method; repeatable."),
]
Epochs = Annotated[int | None, Option("--epochs", metavar="N", help="Short for --set epochs=N.")]
RetainFraction = Annotated[
    float,
    Option("--retain-fraction", metavar="SHARE", help="Of the images to keep, shown to methods."),
]
Buffer = Annotated[
    str | None,
    Option("--buffer", metavar="FILE", help="Images to keep that `unsee buffer` has stored."),
]
Guard = Annotated[
    float,
    Option(
        "--guard",
        metavar="SHARE",
        help="Stop, and keep the original, where accuracy on what stays falls further; 1: never.",
    ),
]
Tune = Annotated[
    int,
    Option("--tune", metavar="N", help="Try N settings of the method on validation images first."),
]
Earlier = Annotated[
    list[str] | None,
    Option("--earlier", metavar="RULE", help="What the model has unseen already; repeatable."),
]
Audits = Annotated[
    str | None,
    Option("--audits", metavar="NAME,NAME", help="Ask these alone, such as accuracy,membership."),
]
AuditRetain = Annotated[
    int | None,
    Option(
        "--audit-retain",
        metavar="N",
        help="Look at N of the images to keep, drawn by class; else at all of them.",
    ),
]
TrainEpochs = Annotated[
    int, Option("--train-epochs", metavar="N", help="Of training and retraining.")
]
Oracle = Annotated[
    str, Option("--oracle", metavar="WHAT", help="What to compare with: see unsee run.")
]
Policy = Annotated[
    str | None,
    Option("--policy", metavar="FILE", help="Of the verdict; else as unsee policy prints."),
]
Seed = Annotated[int, Option("--seed", metavar="N", help="Of every random draw.")]
Device = Annotated[str, Option("--device", metavar="NAME", help="auto, cpu or cuda.")]
Redact = Annotated[
    bool, Option("--redact", help="Keep images and forgotten ids out of report and arrays.")
]
Quiet = Annotated[bool, Option("--quiet", help="No progress.")]
Backend = Annotated[
    str,
    Option("--backend", metavar="NAME", help="Where processes run: loky, here; ray, a cluster."),
]
Address = Annotated[
    str | None,
    Option("--address", metavar="HOST:PORT", help="Of the Ray cluster; else this machine's own."),
]
ForceFile = Annotated[bool, Option("--force", help="Replace the output if it exists.")]


def config_of(context: Context, **others: Any) -> "Config":
    """Return the Config that a command line asks for; ``others`` go before its flags.

    Raises:
        OptionError: if a value cannot be read.

    """
    from dataclasses import fields

    from unsee.nouns import Config

    if {"buffer", "retain_fraction"} <= given(context):
        raise OptionError("Expected --buffer or --retain-fraction, got both: a buffer is whole")
    flags = {name: value for name, value in context.params.items() if value is not None}
    for name in ("mean", "std"):
        if name in flags:
            flags[name] = _numbers(name, flags[name])
    for name in ("require", "earlier"):
        flags[name] = tuple(flags.get(name, ()))
    flags["audits"] = tuple(name.strip() for name in flags.get("audits", "").split(",") if name)
    flags["options"] = _options(flags.pop("set_", None) or [], flags.pop("epochs", None))
    known = {field.name for field in fields(Config)}
    return Config(**{name: x for name, x in (flags | others).items() if name in known})


def given(context: Context) -> set[str]:
    """Return the names of the flags that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise OptionError(
            f"Expected --{name} as numbers such as 0.49,0.48,0.45, got {text!r}"
        ) from error


def _options(pairs: list[str], epochs: int | None) -> dict[str, str]:
    """Read ``key=value``; values stay text, the method knows what they are."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise OptionError(f"Expected --set KEY=VALUE, got {wrong[0]!r}")
    split = [pair.partition("=") for pair in pairs]
    named = [(key, value) for key, _, value in split]
    named += [("epochs", str(epochs))] if epochs is not None else []
    keys = [key for key, _ in named]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise OptionError(f"Expected every option of the method once, got {twice} twice")
    return dict(named)


def required(value: str | None, flag: str, example: str) -> str:
    """Return a flag's value.  Raises OptionError if there is none."""
    if not value:
        raise OptionError(f"Expected {flag}, got none: add, for example, {flag} {example}")
    return value


def named_as(path: Path, container: str) -> None:
    """Refuse a file whose name says that it is of another kind than what is to be written.

    Args:
        path: of ``--out``.
        container: "pt" or "safetensors".

    Raises:
        OptionError: if ``torch.load`` or safetensors would not read what bears this name.

    """
    kinds = {".pt": "pt", ".pth": "pt", ".safetensors": "safetensors"}
    if kinds.get(path.suffix, container) != container:
        raise OptionError(
            f"Expected --out {path.with_suffix('.' + container)}, for {container} is what is "
            f"written here, got {path}"
        )


def new_file(
    name: str | None,
    *,
    force: bool,
    inputs: tuple[str | None, ...] = (),
    like: str = "model.safetensors",
) -> Path:
    """Return the path of a file that may be written.

    Raises:
        OptionError: if it exists and ``force`` is not set, is one of ``inputs``, or has no folder.

    """
    path = Path(required(name, "--out", like))
    if any(path.resolve() == Path(x).resolve() for x in inputs if x):
        raise OptionError(f"Expected an --out beside the input, got the input itself: {path}")
    if path.is_dir() or (path.exists() and not force):
        hint = "name a file" if path.is_dir() else "name another, or replace it with --force"
        raise OptionError(f"Expected a new file for --out, got {path}, which exists: {hint}")
    if not path.parent.is_dir():
        raise OptionError(f"Expected a folder for --out, got {path.parent}: make it first")
    return path

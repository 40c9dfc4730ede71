"""``unsee serve``: the web page and its API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._request import HERE, Url, ledger
from unsee.errors import OptionError, SigningKeyError

if TYPE_CHECKING:
    from unsee.web import Access

LOCAL = ("127.0.0.1", "::1", "localhost")


@app.command()
def serve(
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
    include_twins: flags.IncludeTwins = False,
    method: flags.Method = "snu_deep",
    set_: flags.Set = None,
    epochs: flags.Epochs = None,
    retain_fraction: flags.RetainFraction = 0.1,
    buffer: flags.Buffer = None,
    guard: flags.Guard = 0.1,
    tune: flags.Tune = 0,
    train_epochs: flags.TrainEpochs = 12,
    seed: flags.Seed = 0,
    device: flags.Device = "auto",
    oracle: flags.Oracle = "none",
    policy: flags.Policy = None,
    folder: Annotated[
        str, Option("--folder", metavar="DIR", help="Of the runs: the one of unsee worker.")
    ] = "jobs",
    host: Annotated[
        str, Option("--host", metavar="ADDRESS", help="Where to listen; others need --token-file.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        Option("--name", metavar="HOST", help="By which browsers call this server; repeatable."),
    ] = None,
    port: Annotated[
        int, Option("--port", metavar="N", min=1, max=65535, help="Where to listen.")
    ] = 8000,
    behind_tls: Annotated[
        bool,
        Option(
            "--behind-tls",
            help="A proxy speaks https with browsers, and hands on their Host; needs --name.",
        ),
    ] = False,
    key: Annotated[
        str | None,
        Option("--key", metavar="FILE", help="To sign certificates with: see unsee keys new."),
    ] = None,
    token_file: Annotated[
        str | None,
        Option(
            "--token-file",
            metavar="FILE",
            help="Who may come in: lines `role name sha256`; roles requester, approver, auditor.",
        ),
    ] = None,
    url: Url = HERE,
) -> None:
    """Show requests, runs and models on a web page of this machine, with a JSON API.

    Model, data and method are those of requests that are made on the page.  Without --token-file a
    link for each role is printed; it opens the door once.
    """
    if host not in LOCAL and token_file is None:
        raise OptionError(
            f"Expected --token-file FILE with --host {host}, got none: who can reach this address "
            "could read every request"
        )
    if behind_tls and not name:
        raise OptionError(
            "Expected --name HOST with --behind-tls, got none: the name by which browsers call "
            "the proxy, without https:// and port"
        )
    config = flags.config_of(context, forget="", redact=True)
    try:
        from unsee import web
    except ImportError as error:
        raise OptionError(
            f"Expected FastAPI and uvicorn for unsee serve, got {error}: pip install 'unsee[web]'"
        ) from error
    if wrong := [x for x in name or () if x.lower() not in (web.host_of(x), web.host_of(f"[{x}]"))]:
        raise OptionError(
            f"Expected the name of a host for --name, without https:// and port, got {wrong[0]!r}"
        )
    if key:
        _usable(Path(key))
    from unsee import console
    from unsee.ledger import absolute

    known = web.from_file(Path(token_file)) if token_file else None
    with (
        ledger(url, create=True) as opened,
        web.listening(host, port) as door,
        console.progress(quiet=True),
    ):
        desk = web.Desk(
            opened, web.Shelf(Path(folder)), absolute(config), Path(key) if key else None
        )
        place = f"[{host}]" if ":" in host else host
        at = f"https://{name[0]}" if behind_tls and name else f"http://{place}:{port}"
        access = known or _announced(at)
        web.serve(web.application(desk, access, name or (), behind_tls=behind_tls), door)


def _usable(key: Path) -> None:
    """Look at a key now: who certifies with it in a year may not be who can mend it."""
    try:
        from unsee.certificate import private_key
    except ImportError as error:
        raise OptionError(
            f"Expected cryptography for --key, got {error}: pip install 'unsee[certificate]'"
        ) from error
    try:
        private_key(key)
    except SigningKeyError as error:
        raise OptionError(
            f"Expected --key FILE without a passphrase, which nobody is here to type: {error}"
        ) from error


def _announced(at: str) -> "Access":
    """Make tokens and print a link for each role."""
    from unsee import web

    access, tokens = web.fresh()
    print("Each link opens the door once; its token is for programs, and for coming in again.")
    for role, token in tokens.items():
        print(f"{role:10} {at}/login?once={access.link(token)}")
        print(f"{'':10} token {token}", flush=True)
    return access

"""Verbs for certificates: certify, verify, keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from unsee.cli import _flags as flags
from unsee.cli._app import app
from unsee.cli._request import By, NoUrl, claimed, ledger
from unsee.cli._request_shown import wrapped
from unsee.errors import OptionError

if TYPE_CHECKING:
    from unsee.certificate import Checked

NAME = 12
Passphrase = Annotated[
    str | None,
    Option("--passphrase-file", metavar="FILE", help="Its first line; closed to others, too."),
]
keys = typer.Typer(help="Make keys that certificates are signed with.", rich_markup_mode=None)
app.add_typer(keys, name="keys")


@keys.callback()
def _keys() -> None:
    """Make keys that certificates are signed with."""


@keys.command("new")
def new(
    out: Annotated[
        str, Option("--out", metavar="FILE", help="The private key; NAME.pub.pem goes beside it.")
    ] = "unsee-key.pem",
    passphrase_file: Passphrase = None,
) -> None:
    """Make an Ed25519 key pair. The private file is readable by its owner alone.

    Hand the public one to whoever verifies, on another way than the certificates.
    """
    from unsee import certificate, console

    with console.progress():
        public, name = certificate.new_key(Path(out), _passphrase(passphrase_file))
    print(f"private {out}\npublic  {public}\nkey id  {name}")


@app.command()
def certify(
    run: Annotated[str, Argument(metavar="RUN", help="A finished run folder.")],
    key: Annotated[
        str | None, Option("--key", metavar="FILE", help="The private key: unsee keys new.")
    ] = None,
    passphrase_file: Passphrase = None,
    out: Annotated[
        str | None, Option("--out", metavar="FILE", help="Else RUN/certificate.json, made anew.")
    ] = None,
    force: flags.ForceFile = False,
    by: By = None,
    url: NoUrl = None,
) -> None:
    """Sign what a run did and measured, whatever its verdict.

    Holds digests, settings, the verdict and what was not tested; no id, rule, class name or path.
    With --ledger the run is that of a request: the certificate names the last row of the log, and a
    new row names the certificate.
    """
    path = flags.new_file(out, force=force) if out else None
    signer = Path(flags.required(key, "--key", "unsee-key.pem"))
    from unsee import certificate
    from unsee.locking import of_a_ledger

    passphrase = _passphrase(passphrase_file)
    if url is None and of_a_ledger(Path(run)):
        raise OptionError(
            f"Expected --ledger URL for the run of a request, got none for {run}: its ledger is to "
            "know of the certificate; --ledger '' signs it alone"
        )
    if url:
        who = claimed(by)
        with ledger(url) as opened:
            made = opened.certify(run, signer, by=who, out=path, passphrase=passphrase)
    else:
        made = certificate.certify(run, signer, out=path, passphrase=passphrase)
    print(made)


@app.command()
def verify(
    certificate: Annotated[str, Argument(metavar="FILE", help="A certificate.")],
    key: Annotated[
        str | None,
        Option("--key", metavar="FILE", help="The signer's public key, from a source you trust."),
    ] = None,
    model: Annotated[
        str | None,
        Option("--model", metavar="FILE", help="The model in use: is it the certified one?"),
    ] = None,
) -> None:
    """Check a certificate, and whether a model is the certified one.

    Exit code 3 and the name of the check, if one fails. Without --key it shows no more than that
    the file is whole.
    """
    from unsee import certificate as checks

    print(told(checks.verify(certificate, key=key, model=model)))


def _passphrase(path: str | None) -> bytes | None:
    if path is None:
        return None
    from unsee.certificate import passphrase_in

    return passphrase_in(Path(path))


def told(checked: "Checked") -> str:
    """Return what a verified certificate says, in lines of at most 80 columns."""
    said = checked.predicate
    rows = {
        "signature": f"good, by the key that you gave ({checked.keyid[:16]}...)"
        if checked.trusted
        else "SELF-CONSISTENT ONLY: it fits the key inside the file, and anybody can make such a "
        "file. Give the signer's public key with --key",
        "model": MODEL[checked.model or ""],
        "made": f"{said['made']} by unsee {said['versions']['certificate']}",
        "method": f"{said['method']['name']}, seed {said['method']['seed']}: {said['kind']}",
        "forgotten": _forgotten(said["forget"]),
        "verdict": _verdict(said["verdict"]),
        "ledger": _ledger(said.get("ledger")),
        "not tested": _not_tested(said["not_tested"]),
        "meaning": said["meaning"],
    }
    return "\n".join(line for name, words in rows.items() for line in _row(name, words))


MODEL = {
    "": "not compared: give --model FILE",
    "bytes": "the certified one, byte for byte",
    "weights": "the certified one: every tensor is equal, the file around them is another",
}


def _row(name: str, words: str) -> list[str]:
    return wrapped(f"{name:{NAME}}", words)


def _forgotten(forget: dict[str, Any]) -> str:
    kind = f", by a rule {forget['rule']}=" if forget["rule"] else ""
    gone = forget["classes"]
    classes = f"; {gone} class{'es' if gone > 1 else ''} of which nothing stays" if gone else ""
    return f"{forget['count']:,} images{kind}{classes}"


def _verdict(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "none: the run was not judged"
    return f"{verdict['light'].upper()}, {verdict['kind']}. {verdict['sentence']}"


def _ledger(tied: dict[str, Any] | None) -> str:
    if tied is None:
        return "none was asked"
    numbers = ", ".join(map(str, tied["requests"]))
    return (
        f"request {numbers}; its log had {tied['row']} rows then. Does it still? unsee ledger "
        f"verify --expect {tied['hash']}"
    )


def _not_tested(found: dict[str, list[str]]) -> str:
    said = {
        "not measured": found["not_measured"],
        "no band to hold against": found["no_band"],
        "could have shown nothing": found["no_power"],
    }
    parts = [f"{what}: {', '.join(names)}" for what, names in said.items() if names]
    return "; ".join([*parts, *found["too_few_models"], *found["outside"]])

"""From a run folder to its certificate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsee.certificate import _keys, _schema
from unsee.certificate._envelope import sealed
from unsee.certificate._folder import Recorded, recorded
from unsee.certificate._statement import now, statement
from unsee.certificate._verify import checked
from unsee.errors import RunError
from unsee.folder import CERTIFICATE, write

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def certify(
    folder: str | Path,
    key: str | Path,
    *,
    out: str | Path | None = None,
    passphrase: bytes | None = None,
    made: str | None = None,
) -> Path:
    """Sign what a finished run did and measured, whatever its verdict.

    Args:
        folder: of the run.
        key: the file of an Ed25519 private key that its owner alone can read.
        out: the certificate to write; None: ``certificate.json`` in the run's folder.
        passphrase: of an encrypted key.
        made: the time to state, such as ``2026-11-24T15:00:00Z``; None: now.

    Returns:
        The path of the certificate.

    Raises:
        RunError: if the run is not finished, or its files are not what it recorded.
        SigningKeyError: if the key cannot be read, or others can read it.
        StorageError: if the disk refuses.

    """
    content = draft(folder, key, passphrase=passphrase).signed(made or now())
    path = Path(out) if out is not None else Path(folder) / CERTIFICATE
    write(path, content)
    return path


def draft(folder: str | Path, key: str | Path, *, passphrase: bytes | None = None) -> "Draft":
    """Read what a certificate will say, and the key to sign it with.  Raises as ``certify``."""
    return Draft(_keys.private_key(Path(key), passphrase), recorded(Path(folder)), Path(folder))


@dataclass(frozen=True)
class Draft:
    """All that a certificate says of a run, but when it was made and where in a ledger."""

    private: "Ed25519PrivateKey"
    found: Recorded
    folder: Path

    def signed(self, made: str, ledger: Mapping[str, Any] | None = None) -> bytes:
        """Return the certificate: the same bytes whenever the same is said.

        Args:
            made: the time to state.
            ledger: what a ledger says of the run: ``requests``, and ``row`` and ``hash`` of its
                last row.

        """
        key = self.private.public_key()
        try:
            said = statement(self.found, key, made, ledger)
            payload = json.dumps(said, indent=1, sort_keys=True, allow_nan=False).encode()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"Expected a run of this version of unsee in {self.folder}, got {error!r}"
            ) from error
        if fault := _schema.fault(said["predicate"]):
            raise RunError(f"Expected a run that can be certified in {self.folder}, got {fault}")
        content = sealed(payload, self.private)
        checked(content, key)  # nothing is handed out that does not verify
        return content

"""From a run folder to its certificate."""

import json
from pathlib import Path

from unsee.certificate import _keys, _schema
from unsee.certificate._envelope import sealed
from unsee.certificate._folder import recorded
from unsee.certificate._statement import statement
from unsee.certificate._verify import checked
from unsee.errors import RunError
from unsee.folder import CERTIFICATE, write


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
    private = _keys.private_key(Path(key), passphrase)
    found = recorded(Path(folder))
    try:
        said = statement(found, private.public_key(), made)
        payload = json.dumps(said, indent=1, sort_keys=True, allow_nan=False).encode()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"Expected a run of this version of unsee in {folder}, got {error!r}"
        ) from error
    if fault := _schema.fault(said["predicate"]):
        raise RunError(f"Expected a run that can be certified in {folder}, got {fault}")
    content = sealed(payload, private)
    checked(content, private.public_key())  # nothing is handed out that does not verify
    path = Path(out) if out is not None else Path(folder) / CERTIFICATE
    write(path, content)
    return path

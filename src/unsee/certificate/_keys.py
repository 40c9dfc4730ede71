"""Keys for signatures, as PEM files that openssl reads and writes, too."""

import hashlib
import os
import stat
from pathlib import Path

from unsee.errors import SigningKeyError, StorageError
from unsee.events import warn

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError as missing:
    raise SigningKeyError(
        f"Expected the package cryptography, got {missing}: pip install 'unsee[certificate]'"
    ) from missing

LIMIT = 100_000  # bytes of a key or a passphrase
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # what cryptography raises


def new_key(path: Path, passphrase: bytes | None = None) -> tuple[Path, str]:
    """Make a private key that its owner alone can read, and the public one beside it.

    Args:
        path: of the new private key; the public one is ``NAME.pub.pem`` beside it.
        passphrase: what the private one is encrypted with; None: it is not.

    Returns:
        The path of the public key and its id.

    Raises:
        SigningKeyError: if one of the two files exists.
        StorageError: if they cannot be written.

    """
    key = Ed25519PrivateKey.generate()
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        lock = serialization.BestAvailableEncryption(passphrase)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    public = path.with_name(f"{path.stem}.pub.pem")
    _create(path, private, 0o600)
    try:
        _create(public, pem(key.public_key()).encode(), 0o644)
    except BaseException:
        path.unlink()
        raise
    if inside := next((p for p in path.resolve().parents if (p / ".git").exists()), None):
        warn(f"{path} lies in the repository {inside}: a private key that is committed is public")
    return public, keyid(key.public_key())


def private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a private key that nobody but its owner can read, as ssh does.

    Raises:
        SigningKeyError: if others can read it, or it is no Ed25519 key, or the passphrase is
            missing, wrong or not needed.

    """
    content = secret(path, "a private key")
    try:
        key = serialization.load_pem_private_key(content, passphrase)
    except UNREADABLE as error:
        raise SigningKeyError(
            f"Expected a private key in PEM at {path}, with --passphrase-file if and only if it "
            f"is encrypted, got {error}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"Expected an Ed25519 key at {path}, got another: unsee keys new")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.  Raises SigningKeyError if it is none, or none for Ed25519."""
    content, _ = _read(path, "a public key")
    if b"PRIVATE KEY" in content:
        raise SigningKeyError(
            f"Expected a public key at {path}, got a private one: give NAME.pub.pem, and keep "
            "this one where nobody verifies"
        )
    return parsed(content, str(path))


def parsed(content: bytes, where: str) -> Ed25519PublicKey:
    """Read a public key in PEM.  Raises SigningKeyError if it is none, or none for Ed25519."""
    try:
        key = serialization.load_pem_public_key(content)
    except UNREADABLE as error:
        raise SigningKeyError(f"Expected a public key in PEM in {where}, got {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"Expected an Ed25519 key in {where}, got another kind")
    return key


def keyid(key: Ed25519PublicKey) -> str:
    """Return the id of a key: the SHA-256 of the public one in DER."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def pem(key: Ed25519PublicKey) -> str:
    """Return the text of a public key's file."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def passphrase_in(path: Path) -> bytes:
    """Return the first line of a file that nobody but its owner can read; a pipe will do.

    Raises:
        SigningKeyError: if others can read it, or there is none.

    """
    words = secret(path, "a passphrase").partition(b"\n")[0].rstrip(b"\r")
    if not words:
        raise SigningKeyError(f"Expected a passphrase in the first line of {path}, got none")
    return words


def secret(path: Path, what: str) -> bytes:
    """Return what a file holds that is closed to all but its owner."""
    content, mode = _read(path, what)
    if mode & 0o077:
        raise SigningKeyError(
            f"Expected {what} that its owner alone can read, got {path} with the permissions "
            f"{mode & 0o777:04o}: chmod 600 it; and if others may have seen it, make a new one"
        )
    return content


def _read(path: Path, what: str) -> tuple[bytes, int]:
    """Return content and mode of the same open file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
                raise SigningKeyError(f"Expected {what} at {path}, got something else")
            content = file.read(LIMIT + 1)
    except FileNotFoundError as error:
        make = ": unsee keys new makes one" if "key" in what else ""
        raise SigningKeyError(f"Expected {what} at {path}, got no file there{make}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SigningKeyError(f"Expected {what} at {path}, got {error}") from error
    if len(content) > LIMIT:
        raise SigningKeyError(f"Expected {what} at {path}, got more than {LIMIT:,} bytes")
    return content, stat.S_IMODE(status.st_mode)


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a file that was not there; it never has other permissions than ``mode``."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise SigningKeyError(
            f"Expected a new file for a key, got {path}, which exists: name another with --out"
        ) from error
    except (OSError, ValueError) as error:
        raise StorageError(f"Expected to write {path}, got {error}") from error
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(f"Expected to write {path}, got {error}") from error
        raise

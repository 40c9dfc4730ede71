"""Verify a certificate and, where asked, that a model's file is the certified one."""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from unsee.certificate import _keys, _schema, _strict
from unsee.certificate._envelope import PAYLOAD_TYPE, Envelope, opened, pae
from unsee.certificate._statement import PREDICATE, PT, SAFETENSORS, STATEMENT, VERSION
from unsee.certificate._weights import digests
from unsee.errors import CertificateError, OptionError, SigningKeyError

HEX = set("0123456789abcdef")
Same = Literal["bytes", "weights"]


@dataclass(frozen=True)
class Checked:
    """What a certificate that passed every check says."""

    statement: dict[str, Any]
    keyid: str  # SHA-256 of the public key
    trusted: bool  # whether the caller named that key; else anybody may have made the certificate
    model: Same | None = None  # in what the model's file is the certified one; None: not compared

    @property
    def predicate(self) -> dict[str, Any]:
        """What was run and measured."""
        found: dict[str, Any] = self.statement["predicate"]
        return found


def verify(
    certificate: str | Path,
    *,
    key: str | Path | None = None,
    model: str | Path | None = None,
) -> Checked:
    """Check a certificate; loads neither torch nor anything of a model but its bytes.

    Args:
        certificate: its file.
        key: the signer's public key in PEM, from a source that you trust.  Without it the key
            inside the certificate is used, which shows that the file is whole, not who made it.
        model: the file to compare with the certified model.

    Raises:
        CertificateError: if a check fails; its ``check`` says which.
        SigningKeyError: if ``key`` is no public key.
        OptionError: if a file is not there.

    """
    public = None if key is None else _keys.public_key(Path(key))
    found = checked(_content(Path(certificate)), public)
    return found if model is None else replace(found, model=_compared(found, Path(model)))


def checked(content: bytes, key: Ed25519PublicKey | None = None) -> Checked:
    """Check the bytes of a certificate; without ``key`` by the key inside it.

    Raises:
        CertificateError: if a check fails; its ``check`` says which.

    """
    envelope = opened(content)
    if key is not None:
        _check_signature(envelope, key)  # before anything of the payload is looked at
    said = _statement(envelope.payload)
    named = _inside(said)
    if key is None:
        _check_signature(envelope, named)
    if {said["predicate"]["signer"]["keyid"], _keys.keyid(named)} != {envelope.keyid}:
        raise CertificateError(
            "signer", "Expected the statement to name the key that signed it, got another"
        )
    return Checked(said, envelope.keyid, trusted=key is not None)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OptionError(f"Expected a certificate's file at {path}, got something else")
            return file.read(_strict.LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"Expected a certificate at {path}, got {error}") from error


def _check_signature(envelope: Envelope, key: Ed25519PublicKey) -> None:
    if envelope.keyid != _keys.keyid(key):
        raise CertificateError(
            "key",
            f"Expected a signature by the key {_keys.keyid(key)[:16]}..., got one that names "
            f"{envelope.keyid[:16]!r}: another signer's",
        )
    try:
        key.verify(envelope.signature, pae(PAYLOAD_TYPE, envelope.payload))
    except InvalidSignature as error:
        raise CertificateError(
            "signature", "Expected a signature over this payload, got one over something else"
        ) from error


def _inside(said: dict[str, Any]) -> Ed25519PublicKey:
    try:
        return _keys.parsed(said["predicate"]["signer"]["public_key"].encode(), "the certificate")
    except (SigningKeyError, UnicodeEncodeError) as error:
        raise CertificateError("signer", str(error)) from error


def _statement(payload: bytes) -> dict[str, Any]:
    """Read the statement.  Unknown fields are passed over, an unknown version is refused."""
    said = _strict.parse(payload, "a statement")
    kind, predicate = said.get("_type"), said.get("predicateType")
    if kind != STATEMENT:
        raise CertificateError("statement", f"Expected the _type {STATEMENT}, got {_cut(kind)}")
    if not isinstance(predicate, str) or not predicate.startswith(PREDICATE):
        raise CertificateError(
            "predicate", f"Expected a predicateType of unsee, got {_cut(predicate)}"
        )
    if predicate != PREDICATE + VERSION:
        raise CertificateError(
            "version", f"Expected {PREDICATE}{VERSION}, got {_cut(predicate)}: update unsee"
        )
    if fault := _schema.fault(said.get("predicate")):
        raise CertificateError("fields", f"Expected a predicate of version {VERSION}, got {fault}")
    _check_subjects(said.get("subject"), said["predicate"]["after"]["container"])
    return said


def _check_subjects(subjects: object, container: str) -> None:
    """Refuse a statement about anything else than the files of one unlearned model."""
    wanted = [SAFETENSORS, PT] if container == "pt" else [SAFETENSORS]
    found = subjects if isinstance(subjects, list) else []
    names = [x.get("name") if isinstance(x, dict) else None for x in found]
    if names != wanted:
        raise CertificateError("subject", f"Expected the subjects {wanted}, got {_cut(names)}")
    for subject in found:
        digest = subject.get("digest")
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        if not isinstance(sha256, str) or len(sha256) != 64 or {*sha256} - HEX:
            raise CertificateError("subject", f"Expected a SHA-256 of {subject['name']}, got none")


def _compared(checked: Checked, path: Path) -> Same:
    """Return in what a file is the certified model.  Raises CertificateError if in nothing."""
    found, predicate = digests(path), checked.predicate
    subjects = checked.statement["subject"]
    if found.sha256 in {subject["digest"]["sha256"] for subject in subjects}:
        return "bytes"
    if found.weights is not None and found.weights == predicate["after"]["weights"]:
        return "weights"
    before = predicate["before"]
    if found.sha256 == before["sha256"] or (found.weights and found.weights == before["weights"]):
        raise CertificateError(
            "model",
            f"Expected the certified model, got {path}, which is the model BEFORE unlearning",
        )
    by = "bytes and weights" if found.weights else "bytes, as it is no safetensors file,"
    raise CertificateError(
        "model",
        f"Expected the certified model, got {path} (SHA-256 {found.sha256[:16]}...), whose {by} "
        "are not those of the certificate",
    )


def _cut(value: object) -> str:
    return repr(value)[:120]

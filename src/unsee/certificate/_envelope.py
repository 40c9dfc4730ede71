"""The DSSE envelope: bytes, what they are, and one signature over both.

The specification is https://github.com/secure-systems-lab/dsse.  What is signed are bytes, so no
two readers can disagree about what they say.
"""

import base64
import binascii
import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from unsee.certificate import _keys, _strict
from unsee.errors import CertificateError

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """What an envelope holds; nothing in it has been verified."""

    payload: bytes
    keyid: str
    signature: bytes


def pae(kind: str, body: bytes) -> bytes:
    """Return the bytes that are signed: type and payload, each after its length.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'

    """
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def sealed(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the text of an envelope around ``payload``: one field a line."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    record = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {"keyid": _keys.keyid(key.public_key()), "sig": base64.b64encode(signature).decode()}
        ],
    }
    return json.dumps(record, indent=1).encode() + b"\n"


def opened(content: bytes) -> Envelope:
    """Read an envelope.  Fields beside the known ones are passed over.

    Raises:
        CertificateError: see :func:`unsee.certificate._strict.parse`; or ``envelope``,
            ``payload-type``, ``signatures`` or ``base64``.

    """
    record = _strict.parse(content, "a certificate")
    kind, signatures = record.get("payloadType"), record.get("signatures")
    if not isinstance(kind, str) or not isinstance(signatures, list):
        raise CertificateError(
            "envelope", "Expected payload, payloadType and signatures, as in a DSSE envelope"
        )
    if kind != PAYLOAD_TYPE:
        raise CertificateError(
            "payload-type", f"Expected the payloadType {PAYLOAD_TYPE}, got {kind[:80]!r}"
        )
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise CertificateError(
            "signatures", f"Expected one signature, got {len(signatures)}: it has one signer"
        )
    keyid = signatures[0].get("keyid")
    if not isinstance(keyid, str):
        raise CertificateError("envelope", "Expected a keyid beside the signature, got none")
    return Envelope(
        payload=_decoded(record.get("payload"), "payload"),
        keyid=keyid,
        signature=_decoded(signatures[0].get("sig"), "sig"),
    )


def _decoded(text: object, name: str) -> bytes:
    """Return what ``text`` encodes, if it is the one way to write it: RFC 4648, section 4."""
    if not isinstance(text, str):
        raise CertificateError("envelope", f"Expected {name} in base64, got no text")
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise CertificateError("base64", f"Expected {name} in base64, got {error}") from error
    if base64.b64encode(content).decode() != text:
        raise CertificateError("base64", f"Expected {name} in base64 as it is written, got a twin")
    return content

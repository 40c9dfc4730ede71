"""JSON that nobody vouches for: small, shallow, each name once, and nothing but JSON."""

import json
import math
from collections.abc import Iterable
from typing import Any

from unsee.errors import CertificateError

LIMIT = 1 << 20  # bytes; a certificate has about 6 thousand
DEPTH = 32  # objects and lists inside one another; a certificate has 6


def parse(content: bytes, what: str) -> dict[str, Any]:
    """Return the one JSON object in ``content``.

    Args:
        content: UTF-8, at most a MiB.
        what: it is, for errors.

    Raises:
        CertificateError: ``size``, ``json``, ``duplicate`` or ``nesting``.

    """
    if len(content) > LIMIT:
        raise CertificateError("size", f"Expected at most {LIMIT:,} bytes of {what}, got more")
    deep = CertificateError("nesting", f"Expected {what} at most {DEPTH} deep, got deeper")
    try:
        found = json.loads(
            content.decode(),
            object_pairs_hook=_once,
            parse_constant=_refused,
            parse_float=_finite,
        )
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate is no text
    except RecursionError as error:
        raise deep from error
    except ValueError as error:
        raise CertificateError("json", f"Expected {what} in JSON, got {error}") from error
    level = [found]
    for _ in range(DEPTH):
        level = [x for outer in level for x in _inside(outer)]
    if level:
        raise deep
    if not isinstance(found, dict):
        raise CertificateError("json", f"Expected {what} as a JSON object, got another value")
    return found


def _inside(value: Any) -> Iterable[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (x for x in inner if isinstance(x, dict | list))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise CertificateError(
                "duplicate", f"Expected every name once, got {name[:40]!r} twice: readers differ"
            )
        found[name] = value
    return found


def _refused(constant: str) -> None:
    raise ValueError(f"{constant}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]}, which is too large")
    return value

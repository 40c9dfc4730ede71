"""The safetensors container: a JSON header and one run of bytes, checked before it is read."""

import json
import math
from collections.abc import Iterable
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from unsee.errors import ModelError
from unsee.models._words import told

HEADER = 100_000_000  # bytes, the format's own limit
TENSORS = 100_000
METADATA = "__metadata__"
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
BYTES |= {"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}


def decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file in the order of their bytes, and its metadata.

    Raises:
        ModelError: if the header is too long, not JSON, names a thing twice, has more than 100,000
            tensors or an unknown number type, or does not account for every byte exactly once.

    """
    header, length = _header(content)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelError(f"Expected metadata of strings, got {told(metadata)}")
    end, spans = 0, sorted(_span(name, entry) for name, entry in header.items())
    for begin, stop, name in spans:
        if begin != end:
            kind = "an overlap" if begin < end else "a hole"
            raise ModelError(f"Expected tensors end to end, got {kind} before {told(name)}")
        end = stop
    if end != len(content) - 8 - length:
        raise ModelError(
            f"Expected {end:,} bytes of weights, as the header says, got "
            f"{len(content) - 8 - length:,}: the file is cut short or has something behind it"
        )
    try:
        state = load(content)  # in an order of its own in every process
        return {name: state[name] for _, _, name in spans}, metadata
    except SafetensorError as error:
        raise ModelError(
            f"Expected a safetensors file, got a damaged one ({told(str(error))})"
        ) from error


def encode(state: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file: the same bytes for the same content.

    The library writes metadata in an order that differs between processes, so it is put in here.
    """
    content = save(state)
    if not metadata:
        return content
    length = int.from_bytes(content[:8], "little")
    header = {METADATA: dict(sorted(metadata.items())), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the weights stay aligned
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and its length in bytes."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or not 2 <= length <= min(HEADER, len(content) - 8):
        raise ModelError(
            f"Expected a checkpoint, safetensors or a state dict of torch.save, got "
            f"{len(content):,} bytes, of which a safetensors header would be the first {length:,}"
        )
    text = content[8 : 8 + length]
    if not text.startswith(b"{"):
        raise ModelError(f"Expected a safetensors header to start with '{{', got {text[:1]!r}")
    if text.count(b"{") > TENSORS + 2 or text.count(b"[") > 2 * TENSORS:
        raise ModelError(f"Expected at most {TENSORS:,} tensors, got a header of more")
    try:
        return json.loads(text, object_pairs_hook=without_repeats, parse_constant=_refused), length
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"Expected a safetensors header in JSON, got {told(str(error))}"
        ) from error


def without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the JSON object.  Raises ValueError if it names a thing twice."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the name {told(key)} twice")
        record[key] = value
    return record


def _refused(constant: str) -> None:
    raise ValueError(f"{constant}, which is not JSON")


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Return where the tensor's bytes begin and end."""
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = all(type(n) is int and n >= 0 for n in [*shape, begin, end]) and len(entry) == 3
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"Expected dtype, shape and data_offsets of {told(name)}, got {told(entry)}"
        ) from error
    if not sound:
        raise ModelError(f"Expected sizes of {told(name)} as whole numbers, got {told(entry)}")
    if not isinstance(kind, str) or kind not in BYTES:
        raise ModelError(
            f"Expected a number type of {told(name)} among {[*BYTES]}, got {told(kind)}: complex "
            "and quantised weights have to be converted first"
        )
    if len(shape) > 16 or math.prod(shape) * BYTES[kind] != end - begin:
        raise ModelError(
            f"Expected {end - begin:,} bytes of {told(name)}, as its offsets say, got the shape "
            f"{told(shape)} of {kind}"
        )
    return begin, end, name

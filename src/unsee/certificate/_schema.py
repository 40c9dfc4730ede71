"""The published JSON Schema of a certificate's predicate, and the part of JSON Schema it uses."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
    "null": (type(None),),
}


@cache
def schema() -> dict[str, Any]:
    """Return the schema of the predicate, version 1 (JSON Schema 2020-12)."""
    text = files("unsee.certificate").joinpath("unlearning-v1.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def fault(value: Any) -> str | None:
    """Return the first place where a predicate is not as the schema says; None if there is none."""
    return _fault(value, schema(), "predicate")


def _fault(value: Any, rule: dict[str, Any], place: str) -> str | None:
    if "$ref" in rule:
        rule = schema()["$defs"][rule["$ref"].rpartition("/")[2]]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{place}: expected {' or '.join(kinds)}, got {_kind(value)}"
    if "enum" in rule and value not in rule["enum"]:
        return f"{place}: expected one of {rule['enum']}"
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        return f"{place}: expected text such as {rule['pattern']}"
    if _is(value, "number") and value < rule.get("minimum", value):
        return f"{place}: expected {rule['minimum']} or more"
    if isinstance(value, dict):
        if missing := [name for name in rule.get("required", []) if name not in value]:
            return f"{place}: expected {missing[0]!r}, got none"
        known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        inner = [(x, known.get(name, others), f"{place}.{name}") for name, x in value.items()]
    elif isinstance(value, list):
        inner = [(x, rule.get("items", {}), f"{place}[{n}]") for n, x in enumerate(value)]
    else:
        return None
    return next(filter(None, (_fault(*one) for one in inner)), None)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, KINDS[kind])


def _kind(value: Any) -> str:
    return next(kind for kind in KINDS if _is(value, kind))

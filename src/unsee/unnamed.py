"""A run's record without the digest of its ids and the names of classes that went."""

import json
from dataclasses import dataclass
from typing import Any

LEFT_OUT = "(destroyed)"
LISTS = ("gone", "classes")  # of names of classes, in a run's record


@dataclass(frozen=True)
class Unnamed:
    """What a purge makes of ``audit.json``."""

    text: str
    digest: str  # of the ids, that was left out
    named: tuple[str, ...]  # classes that went, by names that are left out


def unnamed(audit: str) -> Unnamed:
    """Return what is left of an ``audit.json`` when nobody may tell which images it was about.

    The same of what is left already.  A certificate has the digest of this, so that it does not
    tell whether a guess of the ids is right.
    """
    record = json.loads(audit)
    forget = record.get("forget", {})
    digest, rule = str(forget.get("ids_digest") or LEFT_OUT), str(forget.get("rule"))
    named = [str(name) for name in forget.get("gone") or () if LEFT_OUT not in str(name)]
    new = [LEFT_OUT if len(named) == 1 else f"{LEFT_OUT} {n + 1}" for n in range(len(named))]
    record = without_names(record, dict(zip(named, new, strict=True)))
    text = json.dumps(record, indent=1, sort_keys=True).replace(digest, LEFT_OUT)
    if named and rule.startswith("class="):
        text = text.replace(json.dumps(rule)[1:-1], f"class={', '.join(new)}")
    return Unnamed(text, digest, tuple(named))


def without_names(record: Any, names: dict[str, str], within: str = "") -> Any:
    """Return a record, or a part of it, with other names for some classes.

    A class is named by the end of a measurement's name, in the lists of classes, and between
    quotation marks in sentences.

    >>> without_names({"test_accuracy/anna": 1, "notes": ["few of 'anna'"]}, {"anna": "x"})
    {'test_accuracy/x': 1, 'notes': ["few of 'x'"]}

    """
    if isinstance(record, dict):
        return {_key(key, names): without_names(value, names, key) for key, value in record.items()}
    if isinstance(record, list):
        return [without_names(value, names, within) for value in record]
    if not isinstance(record, str):
        return record
    if within in LISTS:
        return names.get(record, record)
    for name, new in names.items():
        for before, after in ("''", '""', "“”"):
            record = record.replace(f"{before}{name}{after}", f"{before}{new}{after}")
    return record


def _key(key: str, names: dict[str, str]) -> str:
    found = next((name for name in names if key.endswith(f"/{name}")), None)
    return key if found is None else key.removesuffix(found) + names[found]

"""What a checkpoint says of its model: arch, mean, std and class names, as JSON."""

import json
import math
from typing import Any

from unsee.errors import ModelError
from unsee.models._safetensors import without_repeats
from unsee.models._words import told

KEY = "unsee"  # of a safetensors file's metadata
SCHEMA = 1


def parse(text: str) -> dict[str, Any]:
    """Return the facts, checked as far as that can be done without data.

    Raises:
        ModelError: if the text is not a JSON object of schema 1, or class names are not unique, or
            mean and std are not equally many finite numbers.

    """
    try:
        facts = json.loads(text, object_pairs_hook=without_repeats)
        schema, arch = facts.pop("schema", SCHEMA), facts.get("arch")
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise ModelError(f"Expected metadata {KEY!r} as a JSON object, got {told(text)}") from error
    mean, std, classes = (facts.get(key) for key in ("mean", "std", "classes"))
    sound = {
        "schema": schema == SCHEMA,
        "arch": arch is None or isinstance(arch, str),
        "classes": classes is None or _are_names(classes),
        "mean and std": mean is std is None or _are_pairs(mean, std),
    }
    if wrong := [name for name, good in sound.items() if not good]:
        raise ModelError(
            f"Expected metadata {KEY!r} of schema {SCHEMA} with an arch, unique class names and "
            f"one mean and std per channel, got others in {wrong}"
        )
    return dict(facts)


def text_of(facts: dict[str, Any]) -> str:
    """Return the JSON that :func:`parse` reads."""
    return json.dumps({"schema": SCHEMA, **facts}, sort_keys=True)


def _are_names(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return False
    return 0 < len(value) == len({*value})


def _are_pairs(mean: object, std: object) -> bool:
    if not isinstance(mean, list) or not isinstance(std, list):
        return False
    finite = (type(x) in (int, float) and math.isfinite(x) for x in mean + std)
    return 0 < len(mean) == len(std) and all(finite)

"""The retrained models that a run is held against: which files they are, and what they left out."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsee.accounting import forgotten
from unsee.errors import ModelError
from unsee.events import warn
from unsee.folder import CONFIG, digest
from unsee.nouns import Split

NOT_FILES = ("none", "retrain")


def checkpoints(place: Path, kind: str = "oracle") -> list[Path]:
    """Return the checkpoints of one kind in a folder, in the order of their seeds.

    A folder of somebody's own retrained models has no kinds: all its checkpoints count.
    """
    found = sorted(place.glob("*.safetensors"))
    if not (place / CONFIG).exists():
        return found
    whole = (path for path in found if path.with_suffix(".json").exists())  # which is written last
    return [path for path in whole if path.name.startswith(f"{kind}-")]


def named_oracles(oracle: str) -> tuple[Path, ...]:
    """Return the checkpoints that ``--oracle`` names.

    Raises:
        ModelError: if it names a folder without any, or with one of them twice.

    """
    if oracle in NOT_FILES:
        return ()
    place = Path(oracle)
    if not place.is_dir():
        return (place,)
    if found := checkpoints(place):
        _no_copies(found)
        return tuple(found)
    raise ModelError(
        f"Expected retrained models (*.safetensors) in the folder {place} of --oracle, got none: "
        "unsee oracles trains them"
    )


def _no_copies(found: list[Path]) -> None:
    """Refuse a model and a copy of it: they would count as two that agree."""
    first: dict[str, Path] = {}
    for path in found:
        if (other := first.setdefault(digest(path), path)) != path:
            raise ModelError(
                f"Expected retrained models that differ in the folder {path.parent} of --oracle, "
                f"got {other.name} and {path.name} with the same content: leave one of them out"
            )


def asked(split: Split) -> dict[str, str]:
    """Return what a fleet and a run have to have in common: data, what is left out, what is tested.

    The rule in words is not among it: two rules may choose the same images.
    """
    tested = "\n".join(split.test.ids.tolist()).encode()
    return {
        "fingerprint": split.fingerprint,
        "ids_digest": forgotten(split)["ids_digest"],
        "tested": hashlib.sha256(tested).hexdigest(),
    }


def recipe_of(oracle: str) -> dict[str, Any]:
    """Return how the fleet that ``--oracle`` names was trained; {} where nothing says so.

    Of somebody's own retrained models nothing does.
    """
    recipe = Path(oracle, CONFIG)
    if oracle in NOT_FILES or not recipe.is_file():
        return {}
    return dict(json.loads(recipe.read_text()))


def left_out_the_same(oracle: str, split: Split) -> None:
    """Refuse a fleet that was trained without other images than these, or on other data.

    Raises:
        ModelError: if the fleet says so.

    """
    theirs, ours = recipe_of(oracle), asked(split)
    if theirs and (differing := sorted(key for key, x in ours.items() if theirs.get(key) != x)):
        raise ModelError(
            f"Expected retrained models without the images of {split.rule!r} for --oracle, got a "
            f"fleet without those of {theirs.get('rule')!r}, which differs in {differing}"
        )


def trained_the_same(oracle: str, asked: Mapping[str, Any]) -> None:
    """Say where a fleet was trained otherwise than the original of a run.

    Args:
        oracle: as ``--oracle`` names it.
        asked: of the run's own training, by the names of a fleet's ``config.json``.

    """
    theirs = recipe_of(oracle)
    if other := {key: (theirs[key], x) for key, x in asked.items() if theirs.get(key, x) != x}:
        told = ", ".join(f"{key} {fleet} (here: {own})" for key, (fleet, own) in other.items())
        warn(
            f"the retrained models of --oracle were trained with {told}: what lies between them "
            "and the original is not of the forgotten images alone"
        )


def digest_of(paths: tuple[Path, ...]) -> str:
    """Return one SHA-256 over several files; of a fleet, over all that its models say of theirs."""
    facts = sorted(paths[0].parent.glob("*-*.json")) if (paths[0].parent / CONFIG).exists() else []
    if facts:
        return hashlib.sha256("".join(map(digest, facts)).encode()).hexdigest()
    if len(paths) == 1:
        return digest(paths[0])
    return hashlib.sha256("".join(map(digest, paths)).encode()).hexdigest()

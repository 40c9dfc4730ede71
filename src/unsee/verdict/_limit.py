import json
from importlib.resources import files
from typing import Any


def detection_limit() -> dict[str, Any]:
    """Return what the verdict was seen to miss: the simulation's curve, as `make verify` wrote it.

    ``rows``: for each ``share`` of a forget set left in training, how often (``red``, with
    its exact 95 % interval ``low``, ``high``, of ``n`` models) the verdict was red; ``on``: what
    was simulated.
    """
    found: dict[str, Any] = json.loads(
        files("unsee.verdict").joinpath("limit.json").read_text(encoding="utf-8")
    )
    return found

from dataclasses import replace

from unsee.nouns import Run

SHOWING = ("pictures/forget/", "/forget/map", "/forget/answer_map")


def redacted(run: Run) -> Run:
    """Return ``run`` without anything that shows or names a forgotten image."""
    kept = {name: x for name, x in run.arrays.items() if not any(s in f"/{name}" for s in SHOWING)}
    return replace(run, arrays=kept)

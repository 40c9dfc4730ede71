"""What was watched and what was tried while a model was unlearned, in a sentence each."""

from typing import Any

Facts = dict[str, Any]


def guarded(found: Facts) -> str | None:
    """Say what the guard saw; None where nothing was watched."""
    if not found:
        return None
    return (
        f"accuracy on {found['images']:,} images that stay {found['before']:.3f} before and "
        f"{found['after']:.3f} after; to fall by more than {found['allowed']:g} is an error"
    )


def tuned(found: Facts) -> str | None:
    """Say what was tried and by what it was judged; None where nothing was tuned."""
    if not found:
        return None
    trials, images = found["trials"], found["images"]
    chosen = trials[found["chosen"]]
    words = ", ".join(f"{name}={value}" for name, value in chosen["options"].items())
    out = sum(trial["score"] is None for trial in trials)
    spent = sum(trial["image_gradients"] for trial in trials)
    first = " (those that were asked for)" if found["chosen"] == 0 else ""
    return (
        f"{words}{first}: the best of {len(trials)} settings, {out} of which did harm, by "
        f"{images['validation']:,} validation images and {images['forget']:,} images to forget; "
        f"{spent:,.0f} image gradients"
    )


def safety(guard: Facts, tuning: Facts) -> list[tuple[str, str]]:
    """Return what a run records of both as rows of a table: what, and in words."""
    rows = {"Guard": guarded(guard), "Tuned": tuned(tuning)}
    return [(name, said) for name, said in rows.items() if said]

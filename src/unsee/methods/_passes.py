"""How often few images are passed over, so that a method has steps enough to do anything."""

from math import ceil

from unsee.data import steps_per_epoch

FEWEST_STEPS = 24  # of fewer little comes


def passes(n: int, size: int, epochs: int) -> int:
    """Return how many passes over ``n`` images count as ``epochs``: more where they are few."""
    return epochs * ceil(FEWEST_STEPS / min(steps_per_epoch(n, size), FEWEST_STEPS))

"""Labels beside marks, none over another: tried in rings around the mark, nearest first."""

import math
from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
GLYPH, LINE = 0.58, 1.25  # of the size: a wide average letter, and a line with air
RINGS, TURNS = 24, 16


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is, rather too wide: readers' fonts differ."""
    return len(text) * size * GLYPH


def placed(
    marks: Sequence[tuple[float, float, str]], taken: Sequence[Box], inside: Box, size: float
) -> list[Box]:
    """Return a box for every label, in the order of the marks.

    Args:
        marks: x, y and text.
        taken: boxes that no label may cover: the marks.
        inside: where all labels stay.
        size: of the letters, in pixels.

    Returns:
        Boxes that overlap neither each other nor ``taken``; where a picture is too full for that,
        those that overlap least.

    """
    full = [*taken]
    found = []
    for x, y, text in marks:
        wide, high = width_of(text, size), size * LINE
        tries = [box for box in _around(x, y, wide, high) if _holds(inside, box)]
        best = min(tries or [_moved_in(x, y, wide, high, inside)], key=lambda b: _covered(b, full))
        full.append(best)
        found.append(best)
    return found


def _around(x: float, y: float, wide: float, high: float) -> Iterator[Box]:
    """Yield boxes around a place: to its right first, then in wider and wider rings."""
    for ring in range(RINGS):
        reach = 9 + 7 * ring
        for turn in range(TURNS):
            angle = (turn + 1) // 2 * (-1) ** turn * 2 * math.pi / TURNS
            cx = x + math.cos(angle) * (reach + wide / 2)
            cy = y + math.sin(angle) * (reach + high / 2)
            yield cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2


def _holds(outer: Box, inner: Box) -> bool:
    low = inner[0] >= outer[0] and inner[1] >= outer[1]
    return low and inner[2] <= outer[2] and inner[3] <= outer[3]


def _moved_in(x: float, y: float, wide: float, high: float, inside: Box) -> Box:
    left = min(max(x, inside[0]), inside[2] - wide)
    top = min(max(y, inside[1]), inside[3] - high)
    return left, top, left + wide, top + high


def _covered(box: Box, full: Sequence[Box]) -> float:
    """Return how many square pixels of ``box`` others have."""
    return sum(
        max(0.0, min(box[2], b[2]) - max(box[0], b[0]))
        * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
        for b in full
    )

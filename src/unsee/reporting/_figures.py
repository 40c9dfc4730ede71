"""All pictures of a run."""

from unsee.nouns import Run
from unsee.reporting._classes import accuracies, answers
from unsee.reporting._losses import losses
from unsee.reporting._maps import grids
from unsee.reporting._strip import strip


def figures(run: Run) -> dict[str, str]:
    """Return the pictures of a run by name, each the text of an SVG file that needs nothing else.

    They follow the colour scheme of whoever looks at them.  A run that lacks what a picture is
    drawn from has no such picture.
    """
    drawn = [
        strip(run),
        accuracies(run),
        answers(run),
        losses(run),
        *grids(run, "map"),
        *grids(run, "answer_map"),
    ]
    return {picture.name: picture.file() for picture in drawn if picture}

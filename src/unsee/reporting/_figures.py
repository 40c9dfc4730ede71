"""All pictures of a run, drawn once for whoever shows them."""

from dataclasses import dataclass

from unsee.nouns import Run
from unsee.reporting._classes import accuracies, answers
from unsee.reporting._evidence import evidence
from unsee.reporting._exposure import exposure
from unsee.reporting._flow import flows
from unsee.reporting._glossary import Measure
from unsee.reporting._losses import confidences, losses
from unsee.reporting._maps import grids
from unsee.reporting._plane import moved, plane
from unsee.reporting._relearn import relearning
from unsee.reporting._roc import roc
from unsee.reporting._stages import by_stage
from unsee.reporting._strip import panels, strip
from unsee.reporting._svg import Picture


@dataclass(frozen=True)
class Pictures:
    """The pictures of one run; None or empty where the run lacks what they are drawn from."""

    panels: list[tuple[Measure, Picture]]
    strip: Picture | None
    classes: Picture | None
    answers: Picture | None
    flows: list[Picture]  # the original to each other model
    maps: list[Picture]  # evidence for the true class
    answer_maps: list[Picture]
    evidence: Picture | None
    plane: list[Picture]  # one per model
    moved: Picture | None
    stages: Picture | None
    losses: Picture | None
    confidences: Picture | None
    roc: Picture | None
    relearning: Picture | None
    exposure: Picture | None


def pictures_of(run: Run) -> Pictures:
    """Draw all pictures of a run, for :func:`figures` and :func:`page` to share."""
    return Pictures(
        panels=panels(run),
        strip=strip(run),
        classes=accuracies(run),
        answers=answers(run),
        flows=flows(run),
        maps=grids(run, "map"),
        answer_maps=grids(run, "answer_map"),
        evidence=evidence(run),
        plane=plane(run),
        moved=moved(run),
        stages=by_stage(run),
        losses=losses(run),
        confidences=confidences(run),
        roc=roc(run),
        relearning=relearning(run),
        exposure=exposure(run),
    )


def figures(run: Run, drawn: Pictures | None = None) -> dict[str, str]:
    """Return the pictures of a run by name, each the text of an SVG file that needs nothing else.

    They follow the colour scheme of whoever looks at them.  A run that lacks what a picture is
    drawn from has no such picture.

    Args:
        run: what to draw.
        drawn: what :func:`pictures_of` made of it, to draw nothing twice.

    """
    d = drawn or pictures_of(run)
    single = (d.strip, d.classes, d.answers, d.evidence, d.moved, d.stages, d.losses)
    more = (d.confidences, d.roc, d.relearning, d.exposure)
    every = [*single, *more, *d.flows, *d.plane, *d.maps, *d.answer_maps]
    return {picture.name: picture.file() for picture in every if picture}

"""What a reader is told about a measurement, and what to hold it against."""

from unsee.nouns import Run
from unsee.reporting._glossary import ANSWERS, DISTANCES, Measure
from unsee.reporting._glossary_inside import INSIDE
from unsee.reporting._style import found, number

MEASURES = ANSWERS | INSIDE | DISTANCES  # in reading order
NAMING = ("worst_class_change", "membership_strongest")


def measure(name: str) -> Measure:
    """Return what is known about a measurement; a new one stands under its own name."""
    unknown = Measure(name.replace("_", " "), "", "", kind="number", group="Others")
    return MEASURES.get(name) or unknown


def place(name: str) -> tuple[int, str]:
    """Return where a measurement stands in reading order; a run read back is sorted by name."""
    known, head = [*MEASURES], name.partition("/")[0]
    return (known.index(head) if head in MEASURES else len(known)), name


def named(run: Run, model: str, name: str) -> str:
    """Return what a measurement such as ``name/dog`` names beside ``name``, "" if nothing.

    The worst class and the strongest attack are recorded so, and may differ between models.
    """
    found_names = (n for n in run.measurements.get(model, {}) if n.startswith(f"{name}/"))
    return next((n.partition("/")[2] for n in found_names), "") if name in NAMING else ""


def reference(run: Run, name: str) -> str:
    """Return what a value is to be held against, in words."""
    known = measure(name)
    if known.fixed is not None:
        return number(known.fixed, known.kind).replace(".000", "").replace(".500", ".5")
    like = known.like or "retrained"
    if like == "nothing":
        return ""
    if m := found(run, like, name):
        return f"{like}: {number(m.value, known.kind)}"
    if name == "forget_accuracy" and run.forget.get("gone") and run.aim is not None:
        return "0 %, as no model can name a class that it never saw"
    if name == "forget_accuracy" and run.aim is not None:
        return f"as on unseen images of these classes: {number(run.aim, 'share')}"
    return "none without a retrained model"

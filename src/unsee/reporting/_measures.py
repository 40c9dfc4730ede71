"""What each measurement means, in words for a reader."""

from dataclasses import dataclass

from unsee.nouns import Run
from unsee.reporting._style import Kind, found, number


@dataclass(frozen=True)
class Measure:
    """One row of the report: what was measured, how to read it, what to hold it against."""

    title: str
    definition: str
    reading: str
    kind: Kind = "share"
    fixed: float | None = None  # the value to compare with, where it needs no other model
    like: str | None = None  # the model to compare with; None: the retrained one
    strip: bool = False  # whether it is among those shown at the top


MEASURES = {
    "forget_accuracy": Measure(
        "Forget accuracy",
        "Share of the forgotten training images that are still given their own label.",
        "After a whole class has gone a retrained model has 0 %; after single images it is as "
        "accurate on them as on unseen ones.",
        strip=True,
    ),
    "retain_accuracy": Measure(
        "Retain accuracy",
        "Share of the training images to keep that are given their own label.",
        "A fall is damage.",
        like="original",
        strip=True,
    ),
    "test_accuracy": Measure(
        "Test accuracy",
        "Share of never-seen test images given their own label; after a class has gone, of the "
        "classes that stay.",
        "A fall is damage.",
        like="original",
        strip=True,
    ),
    "forgotten_test_accuracy": Measure(
        "Forgotten test accuracy",
        "Share of never-seen test images of the forgotten class given its label.",
        "Shows whether the class has gone, and not only its training images.",
        strip=True,
    ),
    "membership_auc": Measure(
        "Membership AUC",
        "Chance that a forgotten image has a lower loss than a never-seen one of the same kind.",
        "0.5: the loss cannot tell them apart. Above: still remembered. Below: they stand out. "
        "Both sides are a trace.",
        kind="number",
        fixed=0.5,
        strip=True,
    ),
    "probe_recall": Measure(
        "Probe recall",
        "Recall of the forgotten class by a new linear output layer, fitted to the features of "
        "random training images.",
        "As before: only the output layer was changed. As retrained: the features too.",
        strip=True,
    ),
    "few_shot_recall": Measure(
        "Few-shot recall",
        "Recall of the forgotten class from five of its images, by the direction of features.",
        "As before: the class would be known again at once. As retrained: as for a class never "
        "seen.",
        strip=True,
    ),
    "evidence_remaining": Measure(
        "Evidence remaining",
        "Grad-CAM mass for the true class on forgotten images over that on retained ones, "
        "relative to the original.",
        "100 %: as before. 0 %: none is left. It may exceed 100 %.",
        strip=True,
    ),
    "evidence_of_answer": Measure(
        "Evidence for the answer",
        "Grad-CAM mass for the answered class on forgotten images over that on retained ones.",
        "How firmly the model now sees something else in them.",
    ),
    "displacement": Measure(
        "Displacement",
        "1 − overlap (IoU) of the strongest fifth of the true class's map with the original's.",
        "0 %: it looks at the same place. 100 %: elsewhere.",
    ),
    "empty_maps": Measure(
        "Empty maps",
        "Share of forgotten images without any Grad-CAM evidence for their true class.",
        "Empty is not erased: it says that this layer holds no evidence for this output.",
    ),
    "agreement": Measure(
        "Agreement",
        "Share of the forgotten images that are given the class which the retrained model gives.",
        "Two retrainings do not agree wholly either.",
        fixed=1.0,
    ),
    "js_distance": Measure(
        "Jensen-Shannon distance",
        "Mean distance of the answers on forgotten images from the retrained model's, in roots of "
        "nats.",
        "0: the same answers. 0.833: none in common.",
        kind="number",
        fixed=0.0,
    ),
}


def measure(name: str) -> Measure:
    """Return what is known about a measurement; a new one stands under its own name."""
    return MEASURES.get(name) or Measure(name.replace("_", " "), "", "", kind="number")


def reference(run: Run, name: str) -> str:
    """Return what a value is to be held against, in words."""
    known = measure(name)
    if known.fixed is not None:
        return f"{100 * known.fixed:g}\u00a0%" if known.kind == "share" else f"{known.fixed:g}"
    like = known.like or "retrained"
    if m := found(run, like, name):
        return f"{like}: {number(m.value, known.kind)}"
    if name == "forget_accuracy" and run.forget.get("gone"):
        return "0 %, as no model can name a class that it never saw"
    unseen = found(run, "unlearned", "test_accuracy")
    if name == "forget_accuracy" and unseen:
        return f"as on unseen images: {number(unseen.value, 'share')}"
    return "none without a retrained model"

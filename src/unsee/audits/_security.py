import numpy as np
import torch

from unsee.audits._audit import Answer, audit
from unsee.data import TRIGGER, triggered
from unsee.functional import share
from unsee.nouns import Measurement, Split, View
from unsee.training import predict

SAMPLE = 2000  # test images that are shown with the trigger


@audit(
    names=("trigger_success", "corrected_accuracy"),
    question="Does what was poisoned or mislabelled still work?",
    unit="share",
    goal="like retrained",
)
def security(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Ask about a known harm, which the data's columns ``trigger`` and ``true_label`` tell of.

    * trigger_success: share of up to 2,000 test images of other classes that are called the
      trigger's class when they carry it; None unless images with the trigger are forgotten.
    * corrected_accuracy: share of the forgotten images with a wrong label that are given their true
      one; None unless there are any.
    """
    return {
        "trigger_success": _trigger_success(view, split, rng),
        "corrected_accuracy": _corrected(view, split),
    }


def _trigger_success(view: View, split: Split, rng: torch.Generator) -> Measurement | None:
    marks = split.forget.columns.get("trigger")
    if marks is None or not (carrying := marks == TRIGGER).any():
        return None
    target = int(split.forget.labels.cpu()[torch.from_numpy(carrying)].mode().values)
    others = (split.test.labels.cpu() != target).nonzero()[:, 0]
    if not len(others):
        return None
    some = others[torch.randperm(len(others), generator=rng)[:SAMPLE]]
    seen = predict(view.model, triggered(split.test[some.numpy()]))
    return share(seen.logits.argmax(1) == target)


def _corrected(view: View, split: Split) -> Measurement | None:
    names = split.forget.columns.get("true_label")
    if names is None:
        return None
    number = {name: n for n, name in enumerate(split.classes)}
    truth = torch.from_numpy(np.array([number.get(name, -1) for name in names.tolist()]))
    wrong = (truth >= 0) & (truth != view.forget.labels)
    return share((view.forget.logits.argmax(1) == truth)[wrong]) if wrong.any() else None

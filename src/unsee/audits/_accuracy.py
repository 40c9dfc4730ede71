import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.functional import share
from unsee.nouns import Measurement, Seen, Split, View


def _right(seen: Seen) -> Tensor:
    return seen.logits.argmax(1) == seen.labels


def _share_right(seen: Seen) -> Measurement | None:
    if not len(seen.labels):  # a test set without a single image of the kind
        return None
    return share(_right(seen))


@audit(
    names=("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    question="What does the model still get right?",
    unit="share",
    goal="like retrained",
)
def accuracy(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Share of images whose own class has the largest logit; also per class, on test images.

    Arrays: ``PART/right`` (bool) says it of each image of forget, retain, unseen and test;
    ``forget/answers`` ``[K]`` counts what the forgotten images are taken for, and ``flow``
    ``[K, K]`` the same by what the original took them for (rows).
    """
    found: Answer = {
        "forget_accuracy": _share_right(view.forget),
        "retain_accuracy": _share_right(view.retain),
        "test_accuracy": _share_right(view.test),
        "forgotten_test_accuracy": _share_right(view.unseen) if split.gone else None,
    }
    both = (view.unseen, view.test) if split.gone else (view.test,)
    labels = torch.cat([seen.labels for seen in both])
    hits = torch.cat([_right(seen) for seen in both])
    for number, name in enumerate(split.classes):
        if (own := labels == number).any():
            found[f"test_accuracy/{name}"] = share(hits[own])
    for part in ("forget", "retain", "unseen", "test"):
        found[f"{part}/right"] = _right(getattr(view, part)).numpy()
    k = len(split.classes)
    now, before = (model.forget.logits.argmax(1) for model in (view, original))
    found["forget/answers"] = now.bincount(minlength=k).numpy()
    flow = (before * k + now).bincount(minlength=k * k).reshape(k, k)
    found["flow"] = flow.numpy()
    return found

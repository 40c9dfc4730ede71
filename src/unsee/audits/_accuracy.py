import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.audits._kin import unseen_kin
from unsee.functional import share
from unsee.nouns import Measurement, Seen, Split, View


def _right(seen: Seen) -> Tensor:
    return seen.logits.argmax(1) == seen.labels


def _share_right(seen: Seen) -> Measurement | None:
    if not len(seen.labels):  # a test set without a single image of the kind
        return None
    return share(_right(seen))


def _most_remembered(forget: Seen, split: Split) -> Measurement | None:
    if len(split.gone) < 2:
        return None
    right = _right(forget)
    each = (share(right[forget.labels == number]) for number in split.gone)
    return max(each, key=lambda measured: measured.value)


@audit(
    names=(
        *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
        "most_remembered_class",
    ),
    question="What does the model still get right?",
    unit="share",
    goal="like retrained",
)
def accuracy(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Share of images whose own class has the largest logit; also per class, on test images.

    forgotten_test_accuracy: of test images of the classes that forgotten images are of.
    most_remembered_class: where several classes go as a whole, forget accuracy of the one that has
    most of it, which a mean over a large and a small class would hide.

    Arrays: ``PART/right`` (bool) says it of each image of forget, retain, unseen and test, unseen:
    test images of the classes that forgotten images are of;
    ``forget/answers`` ``[K]`` counts what the forgotten images are taken for, and ``flow``
    ``[K, K]`` the same by what the original took them for (rows).
    """
    kin = unseen_kin(view, split)
    found: Answer = {
        "forget_accuracy": _share_right(view.forget),
        "retain_accuracy": _share_right(view.retain),
        "test_accuracy": _share_right(view.test),
        "forgotten_test_accuracy": _share_right(kin),
        "most_remembered_class": _most_remembered(view.forget, split),
    }
    both = (view.unseen, view.test) if split.gone else (view.test,)
    labels = torch.cat([seen.labels for seen in both])
    hits = torch.cat([_right(seen) for seen in both])
    for number, name in enumerate(split.classes):
        if (own := labels == number).any():
            found[f"test_accuracy/{name}"] = share(hits[own])
    parts = {"forget": view.forget, "retain": view.retain, "unseen": kin, "test": view.test}
    for part, seen in parts.items():
        found[f"{part}/right"] = _right(seen).numpy()
    k = len(split.classes)
    now, before = (model.forget.logits.argmax(1) for model in (view, original))
    found["forget/answers"] = now.bincount(minlength=k).numpy()
    flow = (before * k + now).bincount(minlength=k * k).reshape(k, k)
    found["flow"] = flow.numpy()
    return found

import torch

from unsee.audits._audit import Answer, audit
from unsee.functional import share
from unsee.nouns import Measurement, Seen, Split, View


def _right(seen: Seen) -> Measurement | None:
    if not len(seen.labels):  # a test set without a single image of the kind
        return None
    return share(seen.logits.argmax(1) == seen.labels)


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

    The array ``forget/answers`` ``[K]`` counts what the forgotten images are taken for.
    """
    found: Answer = {
        "forget_accuracy": _right(view.forget),
        "retain_accuracy": _right(view.retain),
        "test_accuracy": _right(view.test),
        "forgotten_test_accuracy": _right(view.unseen) if split.gone else None,
    }
    both = (view.unseen, view.test) if split.gone else (view.test,)
    labels = torch.cat([seen.labels for seen in both])
    hits = torch.cat([seen.logits.argmax(1) == seen.labels for seen in both])
    for number, name in enumerate(split.classes):
        if (own := labels == number).any():
            found[f"test_accuracy/{name}"] = share(hits[own])
    answers = view.forget.logits.argmax(1)
    found["forget/answers"] = answers.bincount(minlength=len(split.classes)).numpy()
    return found

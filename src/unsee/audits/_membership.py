import torch
from torch.nn.functional import cross_entropy

from unsee.audits._audit import Answer, audit
from unsee.functional import auc, bootstrap
from unsee.nouns import Split, View


@audit(
    names=("membership_auc",),
    question="Can forgotten images be told from never-seen ones?",
    unit="AUC; 0.5: no; below: they stand out by a high loss",
    goal="like retrained",
)
def membership(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Area under the ROC curve of the loss attack (Yeom et al., CSF 2018), raw.

    Forgotten training images against unseen images of the same kind; an image is called a member
    for its low loss.  None without such unseen images.
    """
    if not len(view.unseen.labels):
        return {"membership_auc": None}
    forget, unseen = (
        -cross_entropy(seen.logits, seen.labels, reduction="none")
        for seen in (view.forget, view.unseen)
    )
    return {
        "membership_auc": bootstrap(auc, forget, unseen, rng=rng),
        "forget/loss": -forget.numpy(),
        "unseen/loss": -unseen.numpy(),
    }

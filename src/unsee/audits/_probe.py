import torch

from unsee.audits._audit import Answer, audit
from unsee.functional import ridge_probe, share
from unsee.nouns import Split, View

SAMPLE = 8000


@audit(
    names=("probe_recall",),
    question="Can the class still be read off the features by a new output layer?",
    unit="recall",
    goal="like retrained",
)
def probe(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Recall of the forgotten class on its test images, for a new linear output layer.

    A ridge probe (lambda 10), fitted to the features of 8,000 random training images of all
    classes.
    """
    if not split.gone or not len(view.unseen.labels):
        return {"probe_recall": None}
    features, labels = (
        torch.cat([getattr(seen, column) for seen in (view.forget, view.retain)])
        for column in ("features", "labels")
    )
    some = torch.randperm(len(labels), generator=rng)[:SAMPLE]
    named = ridge_probe(features[some], labels[some], view.unseen.features)
    return {"probe_recall": share(named == view.unseen.labels)}

import torch
from torch import Tensor

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
    forget = view.forget
    if split.sampled < 1:  # as many forgotten ones among the others as there were
        n = max(1, round(split.sampled * len(forget.labels)))
        forget = forget[torch.randperm(len(forget.labels), generator=rng)[:n]]
    n = len(forget.labels) + len(view.retain.labels)
    some = torch.randperm(n, generator=rng)[:SAMPLE]
    features, labels = (
        _rows(getattr(forget, column), getattr(view.retain, column), some)
        for column in ("features", "labels")
    )
    named = ridge_probe(features, labels, view.unseen.features)
    return {"probe_recall": share(named == view.unseen.labels)}


def _rows(first: Tensor, then: Tensor, rows: Tensor) -> Tensor:
    """Return ``torch.cat([first, then])[rows]`` without a copy of all that is not asked for."""
    inside = rows < len(first)
    found = first.new_empty((len(rows), *first.shape[1:]))
    found[inside] = first[rows[inside]]
    found[~inside] = then[rows[~inside] - len(first)]
    return found

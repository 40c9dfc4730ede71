from dataclasses import replace

import torch

from unsee.audits._audit import Answer, audit
from unsee.functional import bootstrap, few_shot_recall
from unsee.nouns import Split, View

SAMPLE, SHOTS, DRAWS = 8000, 5, 10


@audit(
    names=("few_shot_recall",),
    question="Is the class recognised again after five of its images?",
    unit="recall",
    goal="like retrained",
)
def few_shot(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Recall of the forgotten class's test images by cosine to class means, its own from 5 images.

    The means of the classes that stay come from 8,000 of their training images; mean over 10 draws
    of the 5.  The interval redraws test images and draws.
    """
    if not split.gone or not len(view.unseen.labels):
        return {"few_shot_recall": None}
    some = torch.randperm(len(view.retain.labels), generator=rng)[:SAMPLE]
    kept, kept_labels = view.retain.features[some], view.retain.labels[some]
    stays = ~torch.isin(kept_labels, torch.tensor(split.gone))
    hits = torch.cat(
        [
            few_shot_recall(
                kept[stays],
                kept_labels[stays],
                view.forget.features[view.forget.labels == gone],
                view.unseen.features[view.unseen.labels == gone],
                rng=rng,
                shots=SHOTS,
                draws=DRAWS,
            )
            for gone in split.gone
        ],
        dim=1,
    ).double()
    images, draws = torch.arange(hits.shape[1]), torch.arange(DRAWS)
    measured = bootstrap(lambda i, d: float(hits[d][:, i].mean()), images, draws, rng=rng)
    return {"few_shot_recall": replace(measured, n=len(images))}

import torch

from unsee.audits._audit import Answer, audit
from unsee.functional import bootstrap, js_distance, share
from unsee.nouns import Split, View


@audit(
    names=("agreement", "js_distance"),
    question="Does it answer as the retrained model does?",
    unit="share; nats under the root",
    goal="like retrained",
)
def agreement(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Share of forgotten images for which both name one class; Jensen-Shannon distance of answers.

    None without a retrained model, and for that model itself.
    """
    if retrained is None or view.name == "retrained":
        return {"agreement": None, "js_distance": None}
    ours, theirs = view.forget.logits, retrained.forget.logits
    distances = js_distance(ours.softmax(1), theirs.softmax(1))
    return {
        "agreement": share(ours.argmax(1) == theirs.argmax(1)),
        "js_distance": bootstrap(lambda d: float(d.mean()), distances, rng=rng),
        "forget/js_distance": distances.float().numpy(),
    }

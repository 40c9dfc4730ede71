import numpy as np
import torch
from torch import Tensor, nn

from unsee.audits._audit import Answer, audit
from unsee.errors import ModelError
from unsee.functional import (
    bootstrap,
    js_distance,
    js_divergence,
    l2_distance,
    paired_change,
    share,
    tug_of_war,
)
from unsee.models import reinitialised
from unsee.nouns import Measurement, Seen, Split, View
from unsee.training import predict

SAMPLE, DRAWS = 1000, 1000
NAMES = ("agreement", "js_distance", "l2_distance", "zrf", "tug_of_war", "worst_class_change")


@audit(
    names=NAMES,
    question="Does it answer as the retrained model does?",
    unit="share; nats under the root; distance of probabilities; signed share",
    goal="like retrained",
)
def distance(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """How far the answers are from the retrained model's, and from those of one that knows nothing.

    * agreement: share of forgotten images for which both name one class.
    * js_distance, l2_distance: means over forgotten images, between the two answers.
    * zrf: 1 - mean Jensen-Shannon divergence (bits) from a network of random weights, the same for
      all models, on up to 1,000 forgotten images (Chundawat et al., AAAI 2023).  1: answers as one
      that knows nothing.  None where the architecture cannot be re-initialised.
    * tug_of_war: how alike the accuracies on forget, retain and test images are; 1: equal.
    * worst_class_change: of the classes that stay, the one whose test accuracy fell most against
      the retrained model (without one: the original); its interval is corrected for the choice.
      ``worst_class_change/CLASS`` beside it says which.

    All but zrf are None for the model that is compared with, and all but the last of them without
    a retrained model.
    """
    found: Answer = dict.fromkeys(NAMES)
    found["zrf"] = _zrf(view, original.model, split, rng)  # first: the same draws for every model
    reference = retrained or original
    if view.name != reference.name:
        found |= _worst_class(view.test, reference.test, split)
    if retrained is None or view.name == retrained.name:
        return found
    p, q = (seen.logits.softmax(1) for seen in (view.forget, retrained.forget))
    distances = js_distance(p, q)
    found["agreement"] = share(p.argmax(1) == q.argmax(1))
    found["js_distance"] = bootstrap(_mean, distances, rng=rng)
    found["l2_distance"] = bootstrap(_mean, l2_distance(p, q), rng=rng)
    found["tug_of_war"] = _tug_of_war(view, retrained, rng)
    found["forget/js_distance"] = distances.float().numpy()
    return found


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _right(seen: Seen) -> Tensor:
    return seen.logits.argmax(1) == seen.labels


def _zrf(view: View, original: nn.Module, split: Split, rng: torch.Generator) -> Measurement | None:
    seed = int(torch.randint(2**31, (1,), generator=rng))
    rows = torch.randperm(len(split.forget), generator=rng)[:SAMPLE]
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            blank = reinitialised(original)
        random = predict(blank.eval(), split.forget[rows.numpy()]).logits
    except ModelError:  # no second network of this kind can be had: the question is left open
        return None
    apart = js_divergence(view.forget.logits[rows].softmax(1), random.softmax(1))
    return bootstrap(lambda divergence: 1 - _mean(divergence), apart, rng=rng)


def _tug_of_war(view: View, retrained: View, rng: torch.Generator) -> Measurement | None:
    """Redraw images of each part: of right and wrong alone, a redraw is one multinomial."""
    draw = np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng)))
    pairs: list[tuple[float, float]] = []
    changes = []
    for part in ("forget", "retain", "test"):
        ours, theirs = (_right(getattr(model, part)) for model in (view, retrained))
        if not (n := len(ours)):
            return None
        pairs.append((float(ours.double().mean()), float(theirs.double().mean())))
        gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        counts = draw.multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], DRAWS)
        changes.append((counts[:, 0] - counts[:, 1]) / n)
    value = tug_of_war(pairs)
    low, high = np.quantile(np.prod(1 - np.abs(changes), 0), [0.025, 0.975]).tolist()
    total = sum(len(getattr(view, part).labels) for part in ("forget", "retain", "test"))
    return Measurement(value, min(value, low), max(value, high), total)


def _worst_class(ours: Seen, theirs: Seen, split: Split) -> Answer:
    now, before = _right(ours), _right(theirs)
    stay = ours.labels.unique().tolist()
    if not stay:  # no test images
        return {}
    changes = {}
    for number in stay:
        own = ours.labels == number
        changes[split.classes[number]] = paired_change(now[own], before[own], 1 - 0.05 / len(stay))
    name = min(changes, key=lambda name: (changes[name].value, name))
    return {"worst_class_change": changes[name], f"worst_class_change/{name}": changes[name]}

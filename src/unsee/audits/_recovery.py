from functools import partial

import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.audits._once import once
from unsee.data import as_floats
from unsee.functional import balanced, bootstrap, information, recovered_labels, share
from unsee.models import head
from unsee.nouns import Measurement, Split, View
from unsee.training import device_of

SAMPLE = 8000
FEWEST = 4  # images on either side: two for each half of the cross-fitting
RETAINED = 1000  # images against which the probes tell the forgotten ones


@audit(
    names=("recovery_recall", "information_difference"),
    question="Can what is gone be had back without any training?",
    unit="recall; 0 like retrained, 1 like original",
    goal="like retrained",
    needs=("stages",),
)
def recovery(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Recovery by the original output layer, and how much of the class's information is left.

    * recovery_recall: the attack of https://arxiv.org/abs/2507.07754.  Least squares map this
      model's penultimate features back to the original's, fitted to 8,000 retain images; then the
      original output layer answers.  Recall on unseen images of the forgotten classes.
    * information_difference: a surrogate of the IDI of https://arxiv.org/abs/2405.17878.  I is ln 2
      minus the cross-entropy (nats, cross-fitted, both sides weighted alike) of a linear probe that
      tells at most 500 forgotten from 1,000 retain images; sums run over all stages:
      (sum I - sum I of retrained) / (sum I of original - sum I of retrained).  None where the
      lower end of the denominator's 95 % interval is not above 0.
    """
    found: Answer = {"recovery_recall": None, "information_difference": None}
    if not split.gone:
        return found
    if len(view.unseen.labels):
        first = as_floats(split.forget.take(torch.arange(1)).to(device_of(original.model)))
        layer = head(original.model, first)
        some = torch.randperm(len(view.retain.labels), generator=rng)[:SAMPLE]
        named = recovered_labels(
            view.retain.features[some],
            original.retain.features[some],
            view.unseen.features,
            layer.weight.detach().float().cpu(),
            None if layer.bias is None else layer.bias.detach().float().cpu(),
        )
        found["recovery_recall"] = share(named == view.unseen.labels)
    if retrained is not None:
        found["information_difference"] = _difference(view, original, retrained, rng)
    return found


def _difference(
    view: View, original: View, retrained: View, rng: torch.Generator
) -> Measurement | None:
    asked = (view, original, retrained)
    told = [once(model, "information", partial(_told, model)) for model in asked]
    if any(not len(x) for x in told):
        return None
    n = len(view.stages[-1].forget)
    forget, retain = torch.stack(told, 2).tensor_split([n])
    state = rng.get_state()
    whole = bootstrap(lambda f, r: _sums(f, r)[1], forget, retain, rng=rng)
    if whole.low <= 0:
        return None
    rng.set_state(state)  # the same draws, so that every denominator is one of those
    return bootstrap(_ratio, forget, retain, rng=rng)


def _told(view: View) -> Tensor:
    """Return ``[N, stages]``: what each stage tells about each image; forgotten ones come first."""
    if not view.stages or min(len(view.stages[-1].forget), len(view.stages[-1].retain)) < FEWEST:
        return torch.zeros(0, len(view.stages))
    columns = []
    for stage in view.stages:
        retain = stage.retain[:RETAINED]
        inside = torch.arange(len(stage.forget) + len(retain)) < len(stage.forget)
        columns.append(information(torch.cat([stage.forget, retain]), inside))
    return torch.stack(columns, 1)


def _sums(forget: Tensor, retain: Tensor) -> tuple[float, float]:
    """Return numerator and denominator, from ``[n, stages, 3]`` of this, original, retrained."""
    inside = torch.arange(len(forget) + len(retain)) < len(forget)
    every = torch.cat([forget, retain])  # each model's by itself: the same sums round the same way
    ours, before, theirs = (
        float(balanced(every[:, :, m].contiguous(), inside).sum()) for m in range(3)
    )
    return ours - theirs, before - theirs


def _ratio(forget: Tensor, retain: Tensor) -> float:
    above, below = _sums(forget, retain)
    return above / max(below, 1e-6)

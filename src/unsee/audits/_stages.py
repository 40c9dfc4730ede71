from collections.abc import Iterator
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.data import as_floats
from unsee.functional import bootstrap, knn_purity, linear_cka, ridge_probe, share
from unsee.models import stage_of_weights
from unsee.nouns import Measurement, Split, Stage, View
from unsee.training import device_of

NAMES = (
    *("stage_probe_recall", "cka_original", "cka_original_retain", "cka_retrained"),
    *("cka_retrained_retain", "knn_purity", "weight_change"),
)
NEIGHBOURS = 5


@audit(
    names=NAMES,
    question="At which stage of the network is the class still known?",
    unit="recall; CKA; share; relative change",
    goal="like retrained",
    needs=("stages",),
)
def stages(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """What every stage still knows, on a sample of the images; beside each number ``/STAGE``.

    * stage_probe_recall: a ridge probe (lambda 10) on the stage's output, averaged over places,
      fitted to at most 2,000 retain images and forgotten ones in proportion; recall on unseen
      images.  Without a stage: of the penultimate features.
    * cka_original, cka_retrained: debiased linear CKA to that model on unseen images (on forgotten
      ones, where single images are forgotten); with _retain on test images that stay.
    * knn_purity: share of the 5 nearest of the same known images (cosine, penultimate features)
      that carry an unseen image's own class.
    * weight_change: L2 norm of the difference to the original's parameters over the norm of the
      original's, of the whole network or a stage; "output" is what lies behind the last stage.  It
      has no interval, and n counts weights.
    """
    found: Answer = dict.fromkeys(NAMES)
    if view.stages:
        found["stages"] = np.array([stage.name for stage in view.stages])  # a run sorts its names
        found |= _probes(view, split)
        found |= _likeness(view, "original", original, split)
        if retrained is not None:
            found |= _likeness(view, "retrained", retrained, split)
        found["knn_purity"] = _purity(view, split, rng)
    return found | _changes(view, original, split)


def _labels(view: View, split: Split, part: str) -> Tensor:
    """Return the labels of a part's sample."""
    if part in ("forget", "retain"):
        data = getattr(split, part)
        own: Tensor = data.labels.cpu()
    else:
        own = split.test.labels.cpu()
        if split.gone:
            kin = torch.isin(own, torch.tensor(split.gone))
            own = own[kin if part == "unseen" else ~kin]
    return own[view.sampled[part]]


def _known(view: View, stage: Stage, split: Split) -> tuple[Tensor, Tensor]:
    """Return training images' features and labels, forgotten and kept ones as they occur."""
    share_of_forget = split.sampled * len(split.forget) / len(split.retain)
    n = max(1, min(len(stage.forget), round(share_of_forget * len(stage.retain))))
    labels = _labels(view, split, "forget")[:n], _labels(view, split, "retain")
    return torch.cat([stage.forget[:n], stage.retain]), torch.cat(labels)


def _probes(view: View, split: Split) -> Answer:
    if not split.gone or not len(view.unseen.labels):
        return {}
    truth = _labels(view, split, "unseen")
    found: Answer = {}
    for stage in view.stages:
        named = ridge_probe(*_known(view, stage, split), stage.unseen)
        found[f"stage_probe_recall/{stage.name}"] = share(named == truth)
    return found | {"stage_probe_recall": found[f"stage_probe_recall/{view.stages[-1].name}"]}


def _likeness(view: View, name: str, other: View, split: Split) -> Answer:
    found: Answer = {}
    forgotten = "unseen" if split.gone else "forget"
    for called, part in ((f"cka_{name}", forgotten), (f"cka_{name}_retain", "test")):
        if not len(getattr(view, part).labels):
            continue
        theirs = {stage.name: getattr(stage, part) for stage in other.stages}
        for stage in view.stages:
            found[f"{called}/{stage.name}"] = linear_cka(getattr(stage, part), theirs[stage.name])
        found[called] = found[f"{called}/{view.stages[-1].name}"]
    return found


def _purity(view: View, split: Split, rng: torch.Generator) -> Measurement | None:
    if not len(view.unseen.labels):
        return None
    last = view.stages[-1]
    truth = _labels(view, split, "unseen")
    pure = knn_purity(last.unseen, truth, *_known(view, last, split), k=NEIGHBOURS)
    return bootstrap(lambda x: float(x.mean()), pure, rng=rng)


def _changes(view: View, original: View, split: Split) -> Answer:
    before = dict(original.model.named_parameters())
    names = [stage.name for stage in view.stages[:-1]]
    first = as_floats(split.forget.take(torch.arange(1)).to(device_of(original.model)))
    stage_of = stage_of_weights(original.model, first, names)
    squares: dict[str, list[tuple[float, float, int]]] = {}
    for name, weight in view.model.named_parameters():
        old = before[name].detach().double().cpu()
        moved = weight.detach().double().cpu() - old
        both = float(moved.square().sum()), float(old.square().sum()), old.numel()
        for place in ("", stage_of[name]):
            squares.setdefault(place, []).append(both)
    return dict(_relative(squares))


def _relative(
    squares: dict[str, list[tuple[float, float, int]]],
) -> Iterator[tuple[str, Measurement | None]]:
    for place, sums in squares.items():
        moved, old, n = (sum(column) for column in zip(*sums, strict=True))
        change = None
        if old > 0:
            value = sqrt(moved / old)
            change = Measurement(value, value, value, int(n))
        yield f"weight_change/{place}" if place else "weight_change", change

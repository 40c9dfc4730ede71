import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.functional import bootstrap, share, top_overlap
from unsee.nouns import Maps, Split, View


@audit(
    names=("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps"),
    question="Does the model still see what it was to forget, and where does it look now?",
    unit="share of the original's Grad-CAM mass",
    goal="like retrained",
)
def evidence(
    view: View, *, original: View, retrained: View | None, split: Split, rng: torch.Generator
) -> Answer:
    """Grad-CAM of the true class on forgotten images, measured by the model's own retain images.

    * evidence_remaining: mean mass on forgotten images over mean mass on retain images, divided by
      the same of the original: 1 as before, 0 gone; may exceed 1.
    * evidence_of_answer: mean mass of the answered class on forgotten over retain images.
    * displacement: 1 - IoU of the top 20 % of the true class's map with the original's, over images
      where both maps show something.
    * empty_maps: share of forgotten images without any evidence of their true class.
    """
    names = ("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps")
    if view.maps is None or original.maps is None:
        return dict.fromkeys(names)
    ours, theirs = view.maps, original.maps
    found: Answer = dict.fromkeys(names)
    forget, retain = (
        torch.stack([_mass(getattr(maps, part)) for maps in (ours, theirs)], 1)
        for part in ("forget", "retain")
    )
    if bool((retain.mean(0) > 0).all()) and bool(forget[:, 1].mean() > 0):
        found["evidence_remaining"] = bootstrap(_remaining, forget, retain, rng=rng)
    answered, kept = _mass(ours.forget_answer), _mass(ours.retain_answer)
    if bool(kept.mean() > 0):
        found["evidence_of_answer"] = bootstrap(_ratio, answered, kept, rng=rng)
    if view.name != "original" and (both := _seen(ours) & _seen(theirs)).any():
        moved = 1 - top_overlap(ours.forget[both], theirs.forget[both])
        found["displacement"] = bootstrap(lambda d: float(d.mean()), moved, rng=rng)
    found["empty_maps"] = share(~_seen(ours))
    return found


def _mass(maps: Tensor) -> Tensor:
    return maps.mean((1, 2)).double()


def _seen(maps: Maps) -> Tensor:
    return maps.forget.amax((1, 2)) > 0


def _ratio(forget: Tensor, retain: Tensor) -> float:
    return float(forget.mean() / retain.mean().clamp_min(1e-12))


def _remaining(forget: Tensor, retain: Tensor) -> float:
    """Of rows (this model's mass, the original's mass), so that a redraw keeps images together."""
    now, before = (forget.mean(0) / retain.mean(0).clamp_min(1e-12)).tolist()
    return float(now / max(before, 1e-12))

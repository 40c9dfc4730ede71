import torch
from torch import Tensor

from unsee.audits._audit import Answer, audit
from unsee.functional import bootstrap, share, top_overlap
from unsee.nouns import Maps, Measurement, Split, View


@audit(
    names=("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps"),
    question="Does the model still see what it was to forget, and where does it look now?",
    unit="share of the original's Grad-CAM mass",
    goal="like retrained",
    needs=("maps",),
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

    Beside the numbers of the explained layer, ``evidence_remaining/STAGE`` and
    ``displacement/STAGE`` say the same of each stage of the network that has maps.  Every interval
    comes from the same draws of images, for all stages and all models.
    """
    names = ("evidence_remaining", "evidence_of_answer", "displacement", "empty_maps")
    if view.maps is None or original.maps is None:
        return dict.fromkeys(names)
    layer = view.maps.layer
    ours, theirs = _by_stage(view.maps, layer), _by_stage(original.maps, layer)
    found: Answer = dict.fromkeys(names)
    for stage in (stage for stage in ours if stage in theirs):
        now, before = ours[stage], theirs[stage]
        found[f"evidence_remaining/{stage}"] = _evidence(now, before, rng.clone_state())
        found[f"displacement/{stage}"] = (
            None if view.name == "original" else _moved(now[0], before[0], rng.clone_state())
        )
    for name in ("evidence_remaining", "displacement"):
        found[name] = found[f"{name}/{layer}"]
    answered, kept = _mass(view.maps.forget_answer), _mass(view.maps.retain_answer)
    if bool(kept.mean() > 0):
        found["evidence_of_answer"] = bootstrap(_ratio, answered, kept, rng=rng.clone_state())
    found["empty_maps"] = share(~_seen(view.maps.forget))
    return found


def _by_stage(maps: Maps, layer: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return maps of forgotten and retained images; last those explained, under the name given."""
    return {**maps.stages, layer: (maps.forget, maps.retain)}


def _evidence(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], rng: torch.Generator
) -> Measurement | None:
    """Of the maps of forgotten and retained images; None where there is nothing to divide by."""
    forget, retain = (
        torch.stack([*map(_mass, both)], 1) for both in zip(ours, theirs, strict=True)
    )
    if not (bool((retain.mean(0) > 0).all()) and bool(forget[:, 1].mean() > 0)):
        return None
    return bootstrap(_remaining, forget, retain, rng=rng)


def _moved(ours: Tensor, theirs: Tensor, rng: torch.Generator) -> Measurement | None:
    """Of maps of the same images; None where none has evidence in both, or sizes differ."""
    if ours.shape != theirs.shape:  # of another architecture
        return None
    both = _seen(ours) & _seen(theirs)
    if not both.any():
        return None
    moved = 1 - top_overlap(ours[both], theirs[both])
    return bootstrap(lambda d: float(d.mean()), moved, rng=rng)


def _mass(maps: Tensor) -> Tensor:
    return maps.mean((1, 2)).double()


def _seen(maps: Tensor) -> Tensor:
    return maps.amax((1, 2)) > 0


def _ratio(forget: Tensor, retain: Tensor) -> float:
    return float(forget.mean() / retain.mean().clamp_min(1e-12))


def _remaining(forget: Tensor, retain: Tensor) -> float:
    """Of rows (this model's mass, the original's mass), so that a redraw keeps images together."""
    now, before = (forget.mean(0) / retain.mean(0).clamp_min(1e-12)).tolist()
    return float(now / max(before, 1e-12))

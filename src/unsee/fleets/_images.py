"""What a fleet says of single images: U-LiRA, RMIA, KLoM, and a list of those still remembered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unsee.draws import generator
from unsee.errors import FleetError
from unsee.fleets._members import retained, seen_logits, unlearned_by
from unsee.functional import (
    auc,
    auc_interval,
    bootstrap,
    klom,
    logit_scaled_confidence,
    rmia_scores,
    still_remembered,
    ulira_scores,
)
from unsee.nouns import Measurements
from unsee.preparation import Job
from unsee.references import checkpoints

WORST = 12  # images that are listed by id
EACH = 5  # models a side for U-LiRA, of which each is left out in turn
Arrays = dict[str, NDArray[Any]]
Found = tuple[Measurements, Arrays]


def fleet_answers(
    job: Job, model: nn.Module, folder: Path
) -> tuple[Measurements, Arrays, list[str]]:
    """Compare the unlearned model, image by image, with the models of a fleet.

    * ulira_auc: each unlearned model of the fleet against each retrained one, over the forgotten
      images, the model in question left out of its own reference; 0.5: cannot be told apart.
    * rmia_auc: offline RMIA, forgotten against unseen images.
    * klom, klom_95: mean and 95th percentile over forgotten images; klom/retain and klom/test.

    Args:
        job: of the run.
        model: unlearned.
        folder: of the fleet.

    Returns:
        Measurements and arrays of the unlearned model, and a sentence for each statistic that needs
        more models than there are.

    """
    split = job.split
    ours = seen_logits(job, model)
    unlearned = checkpoints(folder, unlearned_by(job.config))
    sides = {"retrained": _stored(checkpoints(folder)), "unlearned": _stored(unlearned)}
    # A model that this run trained and unlearned is the fleet's own of that seed: no reference.
    own = None if job.given else f"{job.config.seed:04d}"
    others = torch.tensor([path.stem.rpartition("-")[2] != own for path in unlearned])
    labels = {"forget": split.forget.labels.cpu(), "test": split.test.labels.cpu()}
    asked: dict[str, Callable[[], Found]] = {
        "still": lambda: _still(job, ours["forget"], sides["retrained"].get("forget", []), labels),
        "rmia": lambda: _rmia(job, ours, sides["retrained"], labels),
        "ulira": lambda: _ulira(job, ours["forget"], sides, labels["forget"], others),
        "klom": lambda: _klom(job, sides, labels),
    }
    numbers: Measurements = dict.fromkeys(("ulira_auc", "rmia_auc", "klom", "klom_95"))
    arrays: Arrays = {}
    refused = []
    for ask in asked.values():
        try:
            found, beside = ask()
        except FleetError as error:  # told in the report, with the number that is needed
            refused.append(str(error))
        else:
            numbers |= found
            arrays |= beside
    return numbers, arrays, refused


def _stored(paths: list[Path]) -> dict[str, list[Tensor]]:
    """Return the logits ``[N, K]`` of each model, by part."""
    found: dict[str, list[Tensor]] = {}
    for path in paths:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            for part in stored.files:
                found.setdefault(part, []).append(torch.from_numpy(stored[part]))
    return found


def _scaled(models: list[Tensor], labels: Tensor) -> Tensor:
    """Return logit-scaled confidences ``[K, N]``."""
    rows = [logit_scaled_confidence(logits, labels) for logits in models]
    return torch.stack(rows) if rows else torch.zeros(0, len(labels))


def _sure(models: list[Tensor], labels: Tensor) -> Tensor:
    """Return probabilities of the true class ``[K, N]``."""
    rows = [logits.softmax(1).gather(1, labels[:, None])[:, 0] for logits in models]
    return torch.stack(rows) if rows else torch.zeros(0, len(labels))


def _kin(job: Job, labels: Tensor) -> Tensor:
    """Return which test images are of the classes that forgotten ones are of, whole ones first."""
    gone = torch.tensor(job.split.gone)
    alike = torch.isin(labels, gone if len(gone) else job.split.forget.labels.cpu().unique())
    return alike if len(gone) or alike.any() else torch.ones_like(alike)


def _still(job: Job, ours: Tensor, theirs: list[Tensor], labels: dict[str, Tensor]) -> Found:
    target = logit_scaled_confidence(ours, labels["forget"])
    z, p, named = still_remembered(target, _scaled(theirs, labels["forget"]))
    order = torch.argsort(z.abs(), descending=True)[:WORST]
    return {}, {
        "unlearned/forget/z": z.float().numpy(),
        "unlearned/forget/p": p.numpy(),
        "unlearned/forget/still": named.numpy(),
        "unlearned/forget/worst_ids": job.split.forget.ids[order.numpy()],
        "unlearned/forget/worst_z": z[order].float().numpy(),
        "unlearned/forget/worst_still": named[order].numpy(),
    }


def _rmia(
    job: Job, ours: dict[str, Tensor], theirs: dict[str, list[Tensor]], labels: dict[str, Tensor]
) -> Found:
    kin = _kin(job, labels["test"])
    if not kin.any():
        return {"rmia_auc": None}, {}
    target, population = (_sure([ours[part]], labels[part])[0] for part in ("forget", "test"))
    references = _sure(theirs.get("forget", []), labels["forget"])
    beside = _sure(theirs.get("test", []), labels["test"])
    # Never-seen images of the kind are the non-members, and the population too.
    beside, population = beside[:, kin], population[kin]
    forgotten = rmia_scores(target, references, population, beside)
    # An unseen image is compared with the others, and not with itself.
    n = len(population)
    unseen = rmia_scores(population, beside, population, beside) * n / max(n - 1, 1)
    area = auc_interval(forgotten, unseen)
    return {"rmia_auc": area}, {"unlearned/forget/rmia": forgotten.numpy()}


def _ulira(
    job: Job,
    ours: Tensor,
    sides: dict[str, dict[str, list[Tensor]]],
    labels: Tensor,
    others: Tensor,
) -> Found:
    target = logit_scaled_confidence(ours, labels)
    unlearned, oracles = (
        _scaled(sides[side].get("forget", []), labels) for side in ("unlearned", "retrained")
    )
    if (least := min(len(unlearned), len(oracles))) < EACH:  # one more than it is left out of
        raise FleetError(
            f"U-LiRA: expected at least {EACH} unlearned and {EACH} retrained models, got {least}: "
            "train more of them (unsee oracles --unlearned)"
        )
    scores = ulira_scores(target, unlearned[others], oracles)
    left_out = [
        torch.stack([ulira_scores(x, *_without(n, side, unlearned, oracles)) for n, x in each])
        for side, each in (("u", enumerate(unlearned)), ("o", enumerate(oracles)))
    ]
    area = bootstrap(
        lambda u, o: auc(u.flatten(), o.flatten()),
        *(x.T for x in left_out),
        rng=generator(job.config.seed, "ulira"),
        paired=True,
    )
    return {"ulira_auc": area}, {"unlearned/forget/ulira": scores.numpy()}


def _without(n: int, side: str, unlearned: Tensor, oracles: Tensor) -> tuple[Tensor, Tensor]:
    keep = torch.arange(len(unlearned if side == "u" else oracles)) != n
    return (unlearned[keep], oracles) if side == "u" else (unlearned, oracles[keep])


def _klom(job: Job, sides: dict[str, dict[str, list[Tensor]]], labels: dict[str, Tensor]) -> Found:
    labels = {**labels, "retain": retained(job).labels.cpu()}
    numbers: Measurements = {}
    arrays: Arrays = {}
    for part, own in labels.items():
        unlearned, oracles = (
            _scaled(sides[side].get(part, []), own) for side in ("unlearned", "retrained")
        )
        distances, form = klom(unlearned, oracles)
        draws = generator(job.config.seed, f"klom/{part}")
        mean = bootstrap(lambda d: float(d.mean()), distances, rng=draws)
        if part == "forget":
            top = bootstrap(lambda d: float(d.quantile(0.95)), distances, rng=draws)
            numbers |= {"klom": mean, f"klom/{form}": mean, "klom_95": top}
            arrays["unlearned/forget/klom"] = distances.numpy()
        else:
            numbers[f"klom/{part}"] = mean
    return numbers, arrays

"""Search a few options of a method, within a stated number of whole unlearnings.

It looks at images to forget and at validation images, never at the audits' own test images and
never at a retrained model; the guard, at images that stay, may turn a setting down.  The settings
that were asked for are always the first that is tried.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import qmc
from torch import nn
from torch.nn.functional import cross_entropy

from unsee.draws import generator
from unsee.errors import DamageError, DivergenceError, ModelError, OptionError
from unsee.events import muted, tell
from unsee.functional import auc, few_shot_recall
from unsee.methods import Factors
from unsee.nouns import Data, Seen
from unsee.training import counted, counting, predict

FORGET, VALIDATION = 1000, 2000  # images that every trial is looked at by, at most
UNITS = {  # how much of each shortfall counts as much as one of another
    "forget accuracy": 0.01,  # above 0; of single images, away from that on unseen ones
    "accuracy that stays": 0.01,  # lost, on validation images of the classes that stay
    "few-shot recall": 0.25,  # of a class that went
    "membership AUC": 0.01,  # by loss, away from 0.5
}
Attempt = Callable[[dict[str, Any]], nn.Module]  # from changed options to an unlearned model


@dataclass(frozen=True)
class Sight:
    """One model on the images that tuning looks at."""

    forget: Seen
    unseen: Seen  # validation images of the classes that images are forgotten of
    stays: Seen  # validation images of the classes that stay


def objective(
    after: Sight, before: Sight, gone: tuple[int, ...], seed: int = 0
) -> dict[str, float]:
    """Return what a model falls short of, each in the units of ``UNITS``; their sum is its score.

    Whole classes: accuracy on forgotten images above 0; accuracy lost on images that stay; and
    depth, the recall of the class by cosine to class means, its own from five forgotten images.
    There is no telling how deep a retrained model would be, so that depth weighs little: a quarter
    of the recall as much as one point of accuracy.

    Single images: the distance of forget accuracy from that on unseen images, the distance of the
    membership AUC by loss from 0.5, and accuracy lost.

    Args:
        after: the unlearned model.
        before: the original.
        gone: the classes of which nothing stays.
        seed: draws the five images.

    Returns:
        Nothing below 0; what no image can tell is left out.

    """
    found = {"accuracy that stays": max(0.0, _right(before.stays) - _right(after.stays))}
    if gone:
        rows = torch.isin(after.forget.labels, torch.tensor(gone))
        found["forget accuracy"] = _right(after.forget[rows])
        if (recall := _depth(after, gone, seed)) is not None:
            found["few-shot recall"] = recall
    else:
        found["forget accuracy"] = abs(_right(after.forget) - _right(after.unseen))
        known, unknown = (-_losses(seen) for seen in (after.forget, after.unseen))
        found["membership AUC"] = abs(auc(known, unknown) - 0.5)
    return {name: value / UNITS[name] for name, value in found.items()}


def settings(
    options: dict[str, Any], searched: Factors, trials: int, rng: torch.Generator
) -> list[dict[str, Any]]:
    """Return the options to change in each trial: none in the first.

    The others lie evenly, on the scale of logarithms, within the factors of ``searched``: Halton's
    sequence, shifted at random.

    Args:
        options: all options of a method.
        searched: by which factors, at least and at most, some of them are multiplied.
        trials: how many, the first included.
        rng: draws the shift.

    Raises:
        OptionError: if there is nothing to search, or no trial.

    """
    if trials < 1:
        raise OptionError(f"Expected 1 trial or more to tune with, got {trials}")
    if not searched:
        raise OptionError("Expected options that are left to tune, got none: leave --tune out")
    shift = torch.rand(len(searched), generator=rng, dtype=torch.float64)
    points = qmc.Halton(len(searched), scramble=False).random(trials)[1:]
    several = []
    for point in (torch.from_numpy(points) + shift) % 1:
        changed = {}
        for (name, (low, high)), place in zip(searched.items(), point.tolist(), strict=True):
            value = options[name] * low * (high / low) ** place
            changed[name] = (
                max(1, round(value)) if isinstance(options[name], int) else float(f"{value:.3g}")
            )
        several.append(changed)
    return [{}, *several]


def tuned(
    attempt: Attempt,
    model: nn.Module,
    options: dict[str, Any],
    searched: Factors,
    *,
    trials: int,
    forget: Data,
    validation: Data | None,
    gone: tuple[int, ...],
    seed: int,
    advice: str,
) -> tuple[nn.Module, dict[str, Any]]:
    """Unlearn with several settings, and return the model that falls short of least.

    Args:
        attempt: unlearns; a setting that harms what stays is out.
        model: the original.
        options: of the first trial: those that were asked for, over the method's own.
        searched: those of them that are searched, with factors.
        trials: how often to unlearn.
        forget: the images that are to go.
        validation: images that the model has not seen and no audit will look at.
        gone: the classes of which nothing stays.
        seed: of every draw.
        advice: what to do where every setting harms what stays.

    Returns:
        The model, and the facts that a run records: every trial's options, shortfalls, score and
        image gradients, which one was chosen, and on how many images.

    Raises:
        OptionError: if there are no validation images, or nothing to search.
        DamageError: if every setting harms what stays.

    """
    several = settings(options, searched, trials, generator(seed, "tuning"))
    look = _Look(forget, validation, gone, seed)
    with muted():
        before = look(model)
    best: nn.Module | None = None
    done: list[dict[str, Any]] = []
    for number, changed in enumerate(several):
        trial: dict[str, Any] = {"options": {n: (options | changed)[n] for n in searched}}
        with counting() as spent, muted():
            try:
                candidate = attempt(changed)
                short = objective(look(candidate), before, gone, seed)
                trial |= {"short": short, "score": sum(short.values()), "stopped": None}
            except (DamageError, DivergenceError, ModelError) as error:
                trial |= {"short": {}, "score": None, "stopped": _why(error)}
        done.append(trial | {"image_gradients": sum(spent)})
        if trial["score"] is not None and trial["score"] < min(_scores(done[:-1]), default=1e999):
            best, chosen = candidate, number
        tell("progress", done=number + 1, total=trials, message=_told(number, trial))
    if best is None:
        raise DamageError(
            f"Expected one of {trials} settings that keeps what stays, got none; the first: "
            f"{done[0]['stopped']}. The original model is untouched and stays in use. Next: "
            f"{advice}"
        )
    return best, {"trials": done, "chosen": chosen, "images": look.counts}


def _why(error: Exception) -> str:
    """Return what went wrong, without what to do next: the next trial is that."""
    return re.split(r"[.:] [Tt]he original model", str(error))[0]


def _told(number: int, trial: dict[str, Any]) -> str:
    words = ", ".join(f"{name}={value}" for name, value in trial["options"].items())
    end = trial["stopped"] if trial["score"] is None else f"short of {trial['score']:.2f}"
    return f"trial {number} with {words}: {end}"


def _scores(done: list[dict[str, Any]]) -> list[float]:
    return [trial["score"] for trial in done if trial["score"] is not None]


class _Look:
    """Show the same images to every model."""

    def __init__(
        self, forget: Data, validation: Data | None, gone: tuple[int, ...], seed: int
    ) -> None:
        if validation is None or not len(validation):
            raise OptionError(
                "Expected validation images to tune on, which neither the model nor an audit has "
                "seen, got none: name some with --validation ids=FILE"
            )
        self.forget, self.validation = (
            data[torch.randperm(len(data), generator=generator(seed, purpose))[:most].numpy()]
            for data, purpose, most in (
                (forget, "tuning/forget", FORGET),
                (validation, "tuning/validation", VALIDATION),
            )
        )
        self.gone = gone
        self.counts = {"forget": len(self.forget), "validation": len(self.validation)}

    def __call__(self, model: nn.Module) -> Sight:
        with counted(model):
            forget, seen = predict(model, self.forget), predict(model, self.validation)
        kin = torch.isin(seen.labels, forget.labels.unique())
        stays = ~torch.isin(seen.labels, torch.tensor(self.gone))
        unseen = seen[kin if kin.any() or self.gone else stays]
        return Sight(forget, unseen, seen[stays])


def _right(seen: Seen) -> float:
    """Return the share that is right; 0 of no images, before and after alike."""
    return float((seen.logits.argmax(1) == seen.labels).double().sum()) / max(1, len(seen.labels))


def _losses(seen: Seen) -> torch.Tensor:
    return cross_entropy(seen.logits.double(), seen.labels, reduction="none")


def _depth(sight: Sight, gone: tuple[int, ...], seed: int) -> float | None:
    """Return the mean few-shot recall of the classes that went; None without images to tell."""
    found = []
    for number in gone:
        mine, theirs = sight.forget.labels == number, sight.unseen.labels == number
        if mine.any() and theirs.any() and len(sight.stays.labels):
            hits = few_shot_recall(
                sight.stays.features,
                sight.stays.labels,
                sight.forget.features[mine],
                sight.unseen.features[theirs],
                rng=generator(seed, "tuning/few-shot"),
            )
            found.append(float(hits.double().mean()))
    return sum(found) / len(found) if found else None

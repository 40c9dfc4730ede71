"""A guard over the accuracy of what stays: it ends an unlearning that does harm, and says so.

It looks at images that stay and that the method is not shown, before, on the way and afterwards.
Nothing of it reaches the method: with and without a guard the same model comes out, or none.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from unsee.errors import DamageError, DivergenceError, ModelError, OptionError
from unsee.events import muted, warn
from unsee.methods import Method
from unsee.nouns import Data
from unsee.training import counted, predict

LOOKED_AT = 500  # images that stay
ENOUGH = 100  # of them that the method is not shown; with fewer, any that stay are looked at
HOPELESS = 4  # times what is allowed, from LATE on: a good attempt may be as far down half way
LATE = 0.75  # of the steps
KNOWN = 0.1  # of the way from chance to 1: below it a model does not know its images


@dataclass
class Guard:
    """What is watched, and what was seen: a method runs while ``unsee.training.watched(guard)``."""

    images: Data
    before: float  # accuracy of the original on them
    allowed: float
    advice: str
    seen: list[dict[str, float]] = field(default_factory=list)  # share of the steps, accuracy

    @property
    def chance(self) -> float:
        """What guessing gets right."""
        return 1 / len(self.images.classes)

    @property
    def watches(self) -> bool:
        """Whether there is anything to lose: an original that guesses has nothing."""
        return self.before > _knowing(self.chance, 1.0)

    def again(self) -> "Guard":
        """Return one that has seen nothing yet, for another attempt."""
        return replace(self, seen=[])

    def facts(self) -> dict[str, Any]:
        """Return what a run records, as plain data."""
        return {
            "allowed": self.allowed,
            "images": len(self.images),
            "before": self.before,
            "after": self.seen[-1]["accuracy"] if self.seen else None,
            "on_the_way": [look for look in self.seen if look["at"] < 1],
        }

    def __call__(self, model: nn.Module, share: float) -> None:
        """Look at a model on its way, and end the attempt where it is beyond hope.

        Beyond hope is an accuracy near that of guessing, and late on a fall of four times what is
        allowed: in the middle of a cycle of learning rates a model is worse than at its end.

        Args:
            model: as it is after ``share`` of the steps.
            share: in 0..1.

        Raises:
            DamageError: saying what was seen and what to do next.

        """
        now = self._look(model, share)
        guessing = now <= _knowing(self.chance, self.before)
        low = share >= LATE and self._fell(now, HOPELESS)
        if self.watches and self._fell(now) and (guessing or low):
            raise DamageError(self._words(now, f" after {share:.0%} of the steps, and stopped"))

    def judge(self, model: nn.Module) -> None:
        """Look at a finished model.

        Raises:
            DamageError: if it fell further than is allowed.

        """
        now = self._look(model, 1.0)
        if self.watches and self._fell(now):
            raise DamageError(self._words(now, ""))

    def _look(self, model: nn.Module, share: float) -> float:
        try:
            now = accuracy(model, self.images)
        except ModelError as error:  # the original has answered these very images
            raise DivergenceError(
                f"Expected a model that still answers after unlearning, got: {error}. The original "
                f"model is untouched and stays in use. Next: {self.advice}"
            ) from error
        self.seen.append({"at": share, "accuracy": now})
        return now

    def _fell(self, now: float, times: float = 1) -> bool:
        return self.before - now > times * self.allowed + 1e-9  # 0.9 - 0.8 is more than 0.1

    def _words(self, now: float, when: str) -> str:
        enough = math.ceil(20 * (self.before - now)) / 20
        return (
            f"Expected accuracy on images that stay to fall by at most {self.allowed:g}, got "
            f"{self.before:.3f} before and {now:.3f}{when} ({len(self.images)} images). The "
            f"original model is untouched and stays in use. Next: {self.advice}, or "
            f"--guard {min(enough, 1):g} if such a loss is acceptable"
        )


def over(
    model: nn.Module, others: Data, retain: Data, *, allowed: float, advice: str
) -> Guard | None:
    """Return a guard over images that stay; None where nothing is to be watched.

    Args:
        model: the original.
        others: images that stay and that the method is not shown, in random order.
        retain: all images that stay.
        allowed: by how much accuracy on them may fall, in 0..1; 1: as far as it likes.
        advice: what to do where it falls further.

    Raises:
        OptionError: if ``allowed`` is no such number.

    """
    if not 0 <= allowed <= 1:
        raise OptionError(f"Expected a guard in 0..1, got {allowed}: 1 never stops")
    if allowed == 1:
        return None
    evenly = np.linspace(0, len(retain), min(len(retain), LOOKED_AT), endpoint=False).astype(int)
    images = others[:LOOKED_AT] if len(others) >= ENOUGH else retain[evenly]
    if not len(images):
        warn("there are no images that stay: no guard watches over this unlearning")
        return None
    guard = Guard(images, accuracy(model, images), allowed, advice)
    if not guard.watches:
        warn(
            f"the model gets {guard.before:.3f} of the images that stay right, hardly more than by "
            "guessing: are its outputs in another order than the classes, or the images in other "
            "units? No guard watches over this unlearning"
        )
    return guard


def accuracy(model: nn.Module, images: Data) -> float:
    """Return the share that ``model`` gets right, as of image gradients a third each.

    Raises:
        ModelError: if a logit is not finite.

    """
    with counted(model), muted():
        seen = predict(model, images)
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def advice(method: Method, options: dict[str, Any], fraction: float | None, tune: int = 0) -> str:
    """Say what may keep more of what stays, with the numbers of this attempt.

    Args:
        method: that did the harm.
        options: that it ran with, all of them.
        fraction: the share of images to keep that it was shown; None: images that were chosen.
        tune: settings that were tried.

    """
    said = []
    if method.exact and "epochs" in options:  # a model that starts anew has not learned enough
        said.append(f"more epochs, such as --epochs {2 * options['epochs']}")
    elif "lr" in options:
        said.append(f"a lower rate, such as --set lr={options['lr'] / 4:g}")
    if method.data == "buffer":
        more = None if fraction is None else min(1.0, max(0.1, 2 * fraction))
        if more is None:
            said.append("a larger --buffer")
        elif more > (fraction or 0):
            said.append(f"more images to keep, such as --retain-fraction {more:g}")
    if method.searched({}):
        said.append(f"--tune {2 * tune or 8}")
    return ", ".join(said) or "another method: unsee methods lists them"


def _knowing(chance: float, most: float) -> float:
    return chance + KNOWN * max(0.0, most - chance)

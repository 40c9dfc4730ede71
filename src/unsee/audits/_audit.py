"""What an audit is: one question about one model, answered with numbers and their intervals.

An answer maps names to a Measurement; to None where the question does not arise, as for a class
audit after single images went; or to an array (a curve, a score per image), which goes beside the
numbers into ``arrays.npz`` under ``model/part/name``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from unsee.nouns import Goal, Measurement, Split, View

Answer = dict[str, Measurement | NDArray[Any] | None]
Question = Callable[..., Answer]
Need = Literal["maps", "stages"]  # of a View, beside what the model answers and its features


@dataclass(frozen=True)
class Audit:
    """``answer = audit(view, original=, retrained=, split=, rng=)``; looks, never touches."""

    run: Question
    names: tuple[str, ...]  # of its measurements; ``name/class`` may come beside ``name``
    question: str  # what a reader wants to know, shown above the numbers
    unit: str
    goal: Goal
    needs: tuple[Need, ...] = ()  # what is not seen unless an audit that is asked needs it

    def __call__(
        self,
        view: View,
        *,
        original: View,
        retrained: View | None,
        split: Split,
        rng: torch.Generator,
    ) -> Answer:
        """Answer for one model; asked once for each, with the same draws."""
        return self.run(view, original=original, retrained=retrained, split=split, rng=rng)


def audit(
    *,
    names: tuple[str, ...],
    question: str,
    unit: str,
    goal: Goal,
    needs: tuple[Need, ...] = (),
) -> Callable[[Question], Audit]:
    """Turn a function into an :class:`Audit`."""
    return lambda run: Audit(run, names, question, unit, goal, needs)

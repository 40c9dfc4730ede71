"""Conditions that a run has to meet: ``--require "forget_accuracy<=0.01"``."""

import operator
import re
from dataclasses import dataclass

from unsee.errors import OptionError
from unsee.nouns import Run

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Requirement:
    """One condition on a measurement of the unlearned model."""

    name: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.bound:g}"

    def failure(self, run: Run) -> str | None:
        """Return how ``run`` fails it, in words; None if it is met."""
        found = run.measurements["unlearned"].get(self.name)
        if found is None:
            return f"required {self}, and {self.name} was not measured"
        if not COMPARE[self.sign](found.value, self.bound):
            return f"required {self}, measured {found.value:.4g}"
        return None


def parse(text: str, names: set[str]) -> Requirement:
    """Read a condition such as ``test_accuracy>=0.9``.  Raises OptionError."""
    match = re.fullmatch(r"\s*(\w+(?:/.+?)?)\s*(<=|>=|<|>)\s*([-+.\deE]+)\s*", text)
    try:
        name, sign, bound = match.groups() if match else ("", "", "")
        value = float(bound)
    except ValueError as error:
        raise OptionError(
            f"Expected a requirement such as 'forget_accuracy<=0.01', got {text!r}"
        ) from error
    if name.partition("/")[0] not in names:
        raise OptionError(f"Expected a measurement among {sorted(names)}, got {name!r}")
    return Requirement(name, sign, value)

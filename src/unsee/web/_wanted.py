"""Which images somebody asks to be forgotten, and what is told of that before it is done."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unsee.errors import LedgerError
from unsee.ledger import Scope
from unsee.nouns import Config

FROM_OUTSIDE = ("class", "where", "path")  # rules that name no file of this machine
# Ends of lines in a file of ids, and of texts in some databases; the mark that a file begins with.
ENDS = re.compile(r"[\r\n\0]|^\ufeff")


@dataclass(frozen=True)
class Wanted:
    """Which images somebody asks to be forgotten: a rule, or ids, as they are."""

    rule: str = ""
    ids: Sequence[str] = ()

    @classmethod
    def typed(cls, rule: str, text: str) -> "Wanted":
        """Return what a form says: ids one a line, without the blanks around them.

        A line ends where browsers and files of ids end one.  str.splitlines knows nine more ends,
        all of which may stand in an id: its halves may be ids of other images.
        """
        lines = (line.strip(" \t\r") for line in text.split("\n"))
        return cls(rule.strip(), tuple(x for x in lines if x))

    @classmethod
    def of(cls, scope: Scope) -> "Wanted":
        """Return what a ledger knows of a request."""
        return cls(ids=scope.values) if scope.kind == "ids" else cls(scope.rule)

    @property
    def words(self) -> str:
        """The rule, or how many ids there are."""
        return self.rule or f"{len(self.listed)} ids"

    @property
    def listed(self) -> tuple[str, ...]:
        """The ids, each once, in their order."""
        return tuple(dict.fromkeys(self.ids))

    def checked(self) -> "Wanted":
        """Return itself.

        Raises:
            LedgerError: if it is none of both, a rule that names a file, or an id that is not one
                line: read as several it would name other images.

        """
        for each in self.ids:
            if not each or each != each.strip() or ENDS.search(each):
                raise LedgerError(
                    "Expected ids of one line each, without line ends in them or space around "
                    f"them, got {each[:80]!r}: one id an item of the list, or one a line"
                )
        kind = self.rule.partition("=")[0].strip()
        if bool(self.rule.strip()) == bool(self.listed):
            raise LedgerError("Expected a rule or ids, got both or neither")
        if self.rule and kind not in FROM_OUTSIDE:
            raise LedgerError(
                f"Expected a rule among {[f'{k}=' for k in FROM_OUTSIDE]}, got {self.rule[:80]!r}: "
                "ids go into their own field"
            )
        return self


@dataclass(frozen=True)
class Preview:
    """What a request would touch."""

    found: dict[str, Any]  # the fields of a Rehearsal, and its total
    notes: tuple[str, ...]  # twins that remain, and what else the data had to say


@dataclass(frozen=True)
class Which:
    """What an approver is told of a request, or why that cannot be told."""

    wanted: Wanted | None = None
    config: Config | None = None
    why: str = ""

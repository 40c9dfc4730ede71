"""What people put into a ledger: subjects, names, reasons, scopes and dates, each checked."""

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from unicodedata import category, normalize

from unsee.errors import LedgerError

KINDS = ("class", "ids", "where", "path")
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
BLANK = "\u115f\u1160\u2800\u3164"  # letters and signs that are not seen
LONGEST = 2000  # characters of a reason, and of a rule
UNTOLD = ("Cc", "Cs", "Zl", "Zp")  # categories of characters that are no part of a line


@dataclass(frozen=True)
class Scope:
    """Which images a request is about: the value of a forget rule, or ids."""

    kind: str  # of KINDS
    values: tuple[str, ...]  # ids, or the one value of another kind of rule

    @property
    def rule(self) -> str:
        """The forget rule in words; ids have to lie in a file first."""
        if self.kind == "ids":
            raise LedgerError("Expected a rule in words, got ids: write them to a file first")
        return f"{self.kind}={self.values[0]}"


def subject(text: str) -> str:
    """Check a subject token: what another system calls the person, and no one can read a name from.

    Raises:
        LedgerError: if it looks like a name, an e-mail address or a telephone number.

    """
    if not SUBJECT.fullmatch(text) or not any(c.isdigit() for c in text):
        raise LedgerError(
            f"Expected an opaque subject token such as case-4711 or a UUID (ASCII letters, digits, "
            f". _ : / -, at least one digit), got {text!r}: give the number by which your own "
            "system knows the person, never a name, an address or a hash of one"
        )
    return text


def name(text: str) -> str:
    """Check who somebody says to be.  Raises LedgerError."""
    if not _folded(text):
        raise LedgerError("Expected a name, got none: say who you are with --as NAME")
    return _line(text, "a name", 200)


def same(one: str, other: str) -> bool:
    """Tell whether two names are one person's, however they are spelt.

    Marks, what is not seen and the dot of an i do not tell two people apart; letters of another
    script that look alike do.

    >>> same("Ana ", "ANA"), same("ana", "ben"), same("Işık", "IŞIK")
    (True, False, True)

    """
    return _folded(one) == _folded(other)


def _folded(text: str) -> str:
    plain = normalize("NFKD", normalize("NFKD", text).casefold()).replace("ı", "i")
    seen = (
        x if category(x)[0] not in "MCZ" and x not in BLANK else " " * x.isspace() for x in plain
    )
    return " ".join("".join(seen).split())


def reason(text: str, *, needed: bool = False) -> str:
    """Check the why of a step.  Raises LedgerError."""
    if needed and not text.strip():
        raise LedgerError("Expected a reason, got none: add --why TEXT")
    return _line(text, "a reason", LONGEST)


def _line(text: str, what: str, longest: int) -> str:
    """Return a text that every database takes and that can be printed on one line."""
    text = " ".join(normalize("NFC", text).split())
    if len(text) > longest or not text.isprintable():
        raise LedgerError(
            f"Expected {what} of at most {longest} printable characters, got {len(text)}: "
            f"{text[:60]!r}"
        )
    return text


def scope(rule: str | None, ids: Sequence[str] = ()) -> Scope:
    """Check which images a request is about.

    Args:
        rule: as for ``--forget``; ``ids=FILE`` is read here, for the file may go.
        ids: instead of a rule.

    Raises:
        LedgerError: if it is neither one nor the other, or names no images for good.
        SplitError: if the file of ids cannot be read.

    """
    if (rule is None) == (not ids):
        raise LedgerError("Expected a rule or ids, got both or neither: --forget class=3, say")
    if rule is None:
        return Scope("ids", _ids(ids))
    kind, _, value = rule.partition("=")
    if kind == "random" and value.strip():
        raise LedgerError(
            f"Expected a request that names its images, got {rule!r}, which draws others each "
            "time: give the ids that you mean with ids=FILE"
        )
    if kind not in KINDS or not value.strip():
        raise LedgerError(f"Expected a rule among {[f'{k}=' for k in KINDS]}, got {rule!r}")
    if kind == "ids":
        from unsee.data._rules import ids_in  # the one reader of such files; it brings torch

        return Scope("ids", _ids(ids_in(Path(value.strip()))))
    if len(value) > LONGEST or any(category(character) in UNTOLD for character in value):
        raise LedgerError(
            f"Expected the value of a rule of at most {LONGEST} characters on one line, got "
            f"{len(value)}: {value[:60]!r}"
        )
    return Scope(kind, (value,))  # as it is: another spelling may fit other images


def _ids(ids: Sequence[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(x.strip() for x in ids))
    odd = re.compile(r"[\r\n\0\ud800-\udfff]|^\ufeff")  # no line of a file, no text of a database
    if wrong := [x for x in unique if not x or odd.search(x)]:
        raise LedgerError(f"Expected ids that are one line of text each, got {wrong[0]!r}")
    return unique


def month_after(day: date) -> date:
    """Return the same day of the next month, or its last day if it has none such.

    >>> str(month_after(date(2027, 1, 31))), str(month_after(date(2028, 1, 31)))
    ('2027-02-28', '2028-02-29')

    Raises:
        LedgerError: in the last month that a date can have.

    """
    year, month = divmod(12 * day.year + day.month, 12)
    if year > date.max.year:
        raise LedgerError(f"Expected a date before December {date.max.year}, got {day}")
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


def day(text: str) -> date:
    """Read a date.  Raises LedgerError."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise LedgerError(f"Expected a date such as 2026-11-24, got {text!r}") from error

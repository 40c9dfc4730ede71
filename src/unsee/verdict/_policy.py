import hashlib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from unsee.errors import OptionError

JUDGED = (  # the audits that the rules know how to read
    *("forget_accuracy", "forgotten_test_accuracy", "retain_accuracy", "test_accuracy"),
    *("membership_auc", "few_shot_recall"),
)
ESSENTIAL = ("forget_accuracy", "retain_accuracy", "test_accuracy")
KEYS = {"name", "version", "family_level", "green_needs", "audits", "margins"}


@dataclass(frozen=True)
class Policy:
    """What a verdict rests on, and what it forgives: one TOML file."""

    name: str
    sha256: str  # of the file: a report says by which words it judged
    family_level: float  # of a false alarm, over all audits that are used
    green_needs: int  # retrained models
    classes: tuple[str, ...]  # audits, where whole classes go
    images: tuple[str, ...]  # audits, where single images go
    margins: dict[str, float]  # of each audit, in its own unit

    def audits(self, gone: bool) -> tuple[str, ...]:
        """Return the audits that count for whole classes, or for single images."""
        return self.classes if gone else self.images


def load_policy(path: str | Path | None = None) -> Policy:
    """Read a policy; without a path the one that unsee brings.

    Raises:
        OptionError: if it cannot be read, or lacks or misnames something.

    """
    source = files("unsee.verdict").joinpath("policy.toml") if path is None else Path(path)
    try:
        content = source.read_bytes()
        record = tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        raise OptionError(f"Expected a policy in TOML for --policy, got {path}: {error}") from error
    tables = all(isinstance(record.get(key), dict) for key in ("audits", "margins"))
    if record.keys() != KEYS or record["version"] != 1 or not tables:
        raise OptionError(
            f"Expected a policy of version 1 with {sorted(KEYS)}, got {sorted(record)}: start from "
            "the default, which `unsee policy` prints"
        )
    audits, margins = _audits(record["audits"]), _margins(record["margins"])
    if unsaid := {*audits["classes"], *audits["images"]} - margins.keys():
        raise OptionError(f"Expected a margin for every audit of the policy, none: {unsaid}")
    level, needs = record["family_level"], record["green_needs"]
    if not (isinstance(level, float) and 0 < level < 1):
        raise OptionError(f"Expected a family_level between 0 and 1, got {level!r}")
    if not (isinstance(needs, int) and needs >= 2):
        raise OptionError(f"Expected green_needs of 2 retrained models or more, got {needs!r}")
    return Policy(
        name=str(record["name"]),
        sha256=hashlib.sha256(content).hexdigest(),
        family_level=level,
        green_needs=needs,
        classes=audits["classes"],
        images=audits["images"],
        margins=margins,
    )


def default_words() -> str:
    """Return the text of the policy that unsee brings."""
    return files("unsee.verdict").joinpath("policy.toml").read_text(encoding="utf-8")


def _audits(record: Any) -> dict[str, tuple[str, ...]]:
    lists = {kind: record.get(kind, ()) for kind in ("classes", "images")}
    if odd := {kind: x for kind, x in lists.items() if not isinstance(x, list | tuple)}:
        raise OptionError(f"Expected lists of audits in a policy, got {odd}")
    found = {kind: tuple(map(str, names)) for kind, names in lists.items()}
    for kind, names in found.items():
        if unknown := {*names} - {*JUDGED}:
            raise OptionError(
                f"Expected audits of a policy among {list(JUDGED)}, got {sorted(unknown)}"
            )
        if missing := {*ESSENTIAL} - {*names}:
            raise OptionError(f"Expected {sorted(missing)} among the policy's audits of {kind}")
    return found


def _margins(record: Any) -> dict[str, float]:
    margins = {str(name): value for name, value in record.items()}
    wrong = {n: x for n, x in margins.items() if not isinstance(x, int | float) or not 0 <= x < 1}
    if wrong or {*margins} - {*JUDGED}:
        raise OptionError(
            f"Expected margins in 0..1 of {list(JUDGED)}, got {wrong or sorted(margins)}"
        )
    return {name: float(value) for name, value in margins.items()}

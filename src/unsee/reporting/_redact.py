import re
from dataclasses import replace

from unsee.nouns import Run

REDACTED = (
    "no image is shown; ids and scores of the forgotten ones are left out; points of the feature "
    "map name none of them and stay"
)
SPELLING = ("path", "where")  # rules that may spell out an id or a person
SPOKEN = ("answers",)  # sums over all forgotten images: they show none of them


def is_redacted(run: Run) -> bool:
    """Return whether a run shows no image and names no forgotten one."""
    return REDACTED in run.notes


def redacted(run: Run) -> Run:
    """Return ``run`` without anything that shows an image, or names a forgotten one.

    Left out are all pictures with their ids, since who stays today may ask tomorrow; of forgotten
    images maps and scores, too, one by one.  Curves over all of them, counts of answers and the
    points of the feature map name none and stay.  Rules ``path=...`` and ``where=...`` may spell
    out an id or a name, so only their kind is kept, in notes too; the ids and file names that a
    note gives as examples go as well.  Numbers about all forgotten images together stay, and the
    digest of the ids.
    """
    kept = {name: array for name, array in run.arrays.items() if not _private(name)}
    rule = str(run.forget.get("rule", ""))
    kind = rule.partition("=")[0]
    safe = f"{kind}=(left out)" if kind in SPELLING else rule
    notes = [_without_names(note, rule, safe) for note in run.notes]
    forget = run.forget | ({"rule": safe} if rule != safe else {})
    said = (*(note for note in notes if note != REDACTED), REDACTED)
    return replace(run, arrays=kept, forget=forget, notes=said)


def _without_names(note: str, rule: str, safe: str) -> str:
    """Return a note without the ids, files and rule that it quotes."""
    note = re.sub(r", such as .*?(?=: forget them|$)", "", note, flags=re.DOTALL)
    note = re.sub(r"(cannot be read and are left out): .*", r"\1", note, flags=re.DOTALL)
    if rule == safe or not rule:
        return note
    return note.replace(repr(rule), repr(safe)).replace(rule, safe)


def _private(name: str) -> bool:
    *place, last = name.split("/")
    if place and place[0] == "pictures":
        return True
    hidden = any(part == "forget" or part.startswith("forget-") for part in [*place, last])
    if last.startswith("worst_"):
        return True
    return hidden and not (last in SPOKEN and place[-1] == "forget")

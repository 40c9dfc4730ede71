import re
from dataclasses import replace

from unsee.nouns import Run

REDACTED = "the forgotten images, their ids and what was measured on each of them are left out"
SPOKEN = ("answers",)  # sums over all forgotten images: they show none of them


def redacted(run: Run) -> Run:
    """Return ``run`` without anything that shows or names a forgotten image.

    Left out are their pictures, ids, maps and scores, one by one; curves over all of them, counts
    of answers and the points of the feature map name none and stay.  A rule ``path=...`` is a
    pattern on ids and may spell one out, so only its kind is kept; the id that a note gives as an
    example goes too.  Numbers about all forgotten images together stay, and the digest of the ids.
    """
    kept = {name: array for name, array in run.arrays.items() if not _private(name)}
    rule = str(run.forget.get("rule", ""))
    forget = run.forget | ({"rule": "path=(left out)"} if rule.startswith("path=") else {})
    notes = [
        re.sub(r", such as .*?(?=: forget them|$)", "", note, flags=re.DOTALL) for note in run.notes
    ]
    said = (*(note for note in notes if note != REDACTED), REDACTED)
    return replace(run, arrays=kept, forget=forget, notes=said)


def _private(name: str) -> bool:
    *place, last = name.split("/")
    hidden = any(part == "forget" or part.startswith("forget-") for part in [*place, last])
    if last == "worst_ids":
        return True
    return hidden and not (last in SPOKEN and place[-1] == "forget")

"""What ``--dry-run`` prints."""

from unsee import console
from unsee.console import printable
from unsee.nouns import Config
from unsee.preparation import Job, prepare
from unsee.rehearsal import PARTS, TIMED, Rehearsal, rehearsed

SHOWN = 20  # classes


def rehearse(config: Config, words: str = "", *, quiet: bool = False) -> None:
    """Print what a run would touch; ``words``: instead of its rule."""
    with console.progress(quiet=quiet):
        told = rehearsal(prepare(config), words)
    print(told)


def rehearsal(job: Job, words: str = "") -> str:
    """Return a table of images per class and the estimated time."""
    found = rehearsed(job)
    times = [f"{stage} {seconds:.0f} s" for stage, seconds in found.seconds.items()]
    counts = found.counts
    lines = [
        f"would forget {counts['forget']} of {found.trained} training images of "
        f"{printable(found.data)} by {printable(words or found.rule)}",
        *_table(found),
        f"would show {found.method} {found.shown} of {counts['retain']} images to keep",
        f"estimated from {TIMED} batches: {', '.join(times)}, {found.total:.0f} s in all;",
        "what audits train, draw and map, and the report, come on top",
        "nothing was written",
    ]
    return "\n".join(lines)


def _table(found: Rehearsal) -> list[str]:
    """Show images per class; classes that lose images come first."""
    rows = [f"{'class':24}" + "".join(f"{part:>10}" for part in PARTS)]
    for name, *counts in found.classes[:SHOWN]:
        rows.append(f"{printable(name)[:23]:24}" + "".join(f"{n:>10}" for n in counts))
    if more := found.classes[SHOWN:]:
        rest = (sum(counts) for counts in zip(*(each[1:] for each in more), strict=True))
        rows.append(f"{f'{len(more)} more':24}" + "".join(f"{n:>10}" for n in rest))
    return rows

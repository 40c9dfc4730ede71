"""What no tool can reach: a person ticks or refuses each item before a request closes."""

from collections.abc import Mapping

from unsee.errors import LedgerError

SOURCE = "source"
CHECKLIST = {
    SOURCE: "the images are out of the training data: deleted, or never to be trained on again",
    "backups": "backups of the images, of this ledger and of the models before",
    "caches": "caches, thumbnails, feature stores and queues",
    "exports": "exported, converted, fine-tuned or distilled models, and notebooks",
    "recipients": "those who were given the images or the model have been told",
}
ANSWERS = ("done", "refused")


def item(name: str) -> str:
    """Check the name of an item.  Raises LedgerError."""
    if name not in CHECKLIST:
        raise LedgerError(f"Expected an item among {[*CHECKLIST]}, got {name!r}")
    return name


def finished(number: int, answers: Mapping[str, str]) -> bool:
    """Tell whether a whole checklist was done, or parts of it refused.

    Raises:
        LedgerError: if items are open, or the images stay in the training data: once closed, a
            ledger no longer knows which they were, and the next run would train on them.

    """
    if missing := [name for name in CHECKLIST if name not in answers]:
        raise LedgerError(
            f"Expected every item of the checklist done or refused, got none for {missing}: say "
            f'of each that it is done, or why not (--done {missing[0]}, --not-done "{missing[0]}: '
            'why")'
        )
    if answers[SOURCE] != "done":
        raise LedgerError(
            f"Expected {CHECKLIST[SOURCE]!r} to be done, got refused: what has closed is no longer "
            f"known here, and the next run would train on it; request {number} stays open"
        )
    return all(answer == "done" for answer in answers.values())

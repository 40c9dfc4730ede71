"""The states of a request, and which may follow which."""

from typing import Literal

from unsee.errors import LedgerError

State = Literal[
    "received",
    "approved",
    "running",
    "audited",
    "completed",
    "partly_completed",
    "refused",
    "failed",
]
TRANSITIONS: dict[State, tuple[State, ...]] = {
    "received": ("approved", "refused"),
    "approved": ("running", "refused"),
    "running": ("audited", "failed", "approved"),  # approved: it is tried again, perhaps alone
    "audited": ("completed", "partly_completed"),
    "failed": ("approved", "refused"),  # approved: to be tried again
    "completed": (),
    "partly_completed": (),
    "refused": (),
}
CLOSED = tuple(state for state, following in TRANSITIONS.items() if not following)


def follow(number: int, state: State, to: State) -> None:
    """Check that a request in ``state`` may go on to ``to``.

    Raises:
        LedgerError: if it may not.

    """
    following = TRANSITIONS[state]
    if to not in following:
        then = f"it can become {' or '.join(following)}" if following else "nothing follows that"
        raise LedgerError(
            f"Expected request {number} in a state that {to} may follow, got {state}: {then}"
        )

"""The end of a request: its checklist, its last state, and what is forgotten then."""

from collections.abc import Mapping, Sequence

from unsee.errors import LedgerError
from unsee.ledger import _checklist as checks, _terms as terms, _traces as traces
from unsee.ledger._chain import Log
from unsee.ledger._requests import answers, get, move, tick
from unsee.ledger._states import State, follow


def checked(done: Sequence[str], not_done: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Check what is said of a checklist.  Raises LedgerError."""
    refused = {checks.item(k): terms.reason(v, needed=True) for k, v in not_done.items()}
    ticked = [checks.item(name) for name in done]
    if both := {*ticked} & {*refused}:
        raise LedgerError(f"Expected each item done or refused, got both for {sorted(both)}")
    return ticked, refused


def close(
    log: Log, number: int, who: str, why: str, ticked: Sequence[str], refused: Mapping[str, str],
    *, partly: bool,
) -> State:  # fmt: skip
    """Close an audited request, and return how it ended.  Raises LedgerError."""
    found = get(log.connection, number)
    follow(number, found.state, "completed")
    for name in ticked:
        tick(log, number, name, "done", who, "")
    for name, reason in refused.items():
        tick(log, number, name, "refused", who, reason)
    whole = checks.finished(number, answers(log.connection, number)) and not partly
    if whole and found.light == "red":
        raise LedgerError(
            f"Expected an audit that is not red to complete request {number}, got red: "
            "close it with --partly --why TEXT, and tell the person so"
        )
    to: State = "completed" if whole else "partly_completed"
    move(log, number, to, who, why)
    traces.empty(log.connection, number)
    return to

"""A ledger of erasure requests: each method is one step, whole or not at all, and one log row."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from unsee.errors import LedgerError
from unsee.ledger import (
    _checklist as checks,
    _closing as closing,
    _terms as terms,
    _traces as traces,
)
from unsee.ledger._adding import add
from unsee.ledger._approved import unharmed
from unsee.ledger._asked import Asked, asked
from unsee.ledger._certified import certify, served
from unsee.ledger._chain import Checked, Entry
from unsee.ledger._database import Database
from unsee.ledger._export import as_csv, as_json
from unsee.ledger._letter import letter
from unsee.ledger._line import absolute
from unsee.ledger._models import Model, all_of, descendants, digest
from unsee.ledger._purge import Purged, purge
from unsee.ledger._replay import entries, verified
from unsee.ledger._requests import (
    ErasureRequest,
    answers,
    count,
    extend,
    get,
    listed,
    move,
    settings,
    tick,
)
from unsee.ledger._schema import jobs
from unsee.ledger._states import State

if TYPE_CHECKING:
    from unsee.nouns import Config


class Ledger(Database):
    """Requests and their log in one database.

    Args:
        url: a path (SQLite) or ``postgresql://...``.
        create: whether a ledger is made where there is none.
        clock: what the log has for the time.

    Raises:
        UnseeError: if that is no ledger; any method too, if the database fails, and then nothing of
            its step is there.

    """

    def add(
        self,
        subject: str,
        config: "Config",
        *,
        by: str,
        rule: str | None = None,
        ids: Sequence[str] = (),
        received: date | None = None,
        due: date | None = None,
        why: str = "",
    ) -> int:
        """Register a request, and return its number.

        Args:
            subject: an opaque token, never a name or a hash of one.
            config: of the runs that serve it: model, data, method; its ``forget`` does not count.
            by: who adds it, as claimed.
            rule: which images, as for ``--forget``.
            ids: of the images, instead of a rule.
            received: when it came in; today by default.
            due: when it has to be answered; by default one calendar month after ``received``.
            why: what is to be known about it; no names.

        """
        token, who, why = terms.subject(subject), terms.name(by), terms.reason(why)
        config.check_ranges()
        scope, config = terms.scope(rule, ids), absolute(config)
        received = received or self.clock().date()
        due = due or terms.month_after(received)
        if due < received:
            raise LedgerError(f"Expected a due date after {received}, got {due}")
        dates = {"received": received, "due": due}
        sha256 = "" if config.model is None else digest(Path(config.model))
        with self.writing() as log:
            return add(log, token, who, scope, config, sha256, dates, why)

    def requests(
        self, *, open_only: bool = False, limit: int | None = None, offset: int = 0
    ) -> list[ErasureRequest]:
        """Return the requests, the one that is due first at the front, or some in the middle."""
        with self.reading() as connection:
            return listed(connection, open_only, limit, offset)

    def count(self, *, open_only: bool = False) -> int:
        """Return how many requests there are."""
        with self.reading() as connection:
            return count(connection, open_only)

    def show(self, number: int) -> ErasureRequest:
        """Return one request.  Raises LedgerError if there is none."""
        with self.reading() as connection:
            return get(connection, number)

    def scope(self, number: int) -> terms.Scope | None:
        """Return which images a request is about; None once it is closed, and nobody knows."""
        with self.reading() as connection:
            found = get(connection, number)
            return traces.kept(connection, number, found.kind) if found.open else None

    def asked(self, number: int) -> Asked:
        """Return what an open request asks for, as its run would begin now.

        Raises:
            LedgerError: if there is none, it is closed, or it is not what was added.

        """
        with self.reading() as connection:
            return asked(connection, number)

    def entries(self, number: int | None = None) -> list[Entry]:
        """Return the log, or what it has of one request, in the order of writing."""
        with self.reading() as connection:
            return entries(connection, number)

    def answers(self, number: int) -> dict[str, str]:
        """Return what was said of each item of a request's checklist: "done" or "refused"."""
        with self.reading() as connection:
            return answers(connection, number)

    def approve(self, number: int, *, by: str, why: str = "") -> None:
        """Let a request be served; not by who added it."""
        who, why = terms.name(by), terms.reason(why)
        with self.writing() as log:
            if terms.same(get(log.connection, number).added_by, who):
                raise LedgerError(
                    f"Expected someone else to approve request {number}, got {who}, who added it: "
                    "two people look at what is to be erased"
                )
            move(log, number, "approved", who, why)
            unharmed(log.connection, number)

    def refuse(self, number: int, *, by: str, why: str) -> None:
        """Close a request without serving it, and say why."""
        who, why = terms.name(by), terms.reason(why, needed=True)
        with self.writing() as log:
            move(log, number, "refused", who, why)
            traces.empty(log.connection, number)
        self.scrub()

    def extend(self, number: int, until: date, *, by: str, why: str) -> None:
        """Put the due date off, and say why."""
        who, why = terms.name(by), terms.reason(why, needed=True)
        with self.writing() as log:
            extend(log, number, until, who, why)

    def tick(self, number: int, item: str, *, by: str, why: str = "", done: bool = True) -> None:
        """Say that an item of the checklist is done, or that it is not going to be, and why."""
        who, item = terms.name(by), checks.item(item)
        why, answer = terms.reason(why, needed=not done), "done" if done else "refused"
        with self.writing() as log:
            tick(log, number, item, answer, who, why)

    def close(
        self,
        number: int,
        *,
        by: str,
        why: str = "",
        partly: bool = False,
        done: Sequence[str] = (),
        not_done: dict[str, str] | None = None,
    ) -> State:
        """Close an audited request, forget which images it was about, and return how it ended.

        Args:
            number: of the request.
            by: who closes it, as claimed.
            why: needed with ``partly``.
            partly: whether it was served in part only; items that were refused make it so, too.
            done: items of the checklist that are done.
            not_done: items that are not going to be, and why.

        """
        who, why = terms.name(by), terms.reason(why, needed=partly)
        ticked, refused = closing.checked(done, not_done or {})
        with self.writing() as log:
            to = closing.close(log, number, who, why, ticked, refused, partly=partly)
        self.scrub()
        return to

    def served(self, folder: Path) -> list[int]:
        """Return the requests that the run in a folder has served; none: it is no run of ours."""
        with self.reading() as connection:
            return served(connection, folder)

    def certify(
        self,
        folder: str | Path,
        key: str | Path,
        *,
        by: str,
        out: str | Path | None = None,
        passphrase: bytes | None = None,
    ) -> Path:
        """Certify a run that served requests: the certificate names the log, a row of it names it.

        Args:
            folder: of the run, of an audited request.
            key: the file of an Ed25519 private key that its owner alone can read.
            by: who signs, as claimed.
            out: the certificate to write; None: ``certificate.json`` in the run's folder.
            passphrase: of an encrypted key.

        Raises:
            UnseeError: as ``unsee.certify``; LedgerError if it is the run of no such request.

        """
        path = None if out is None else Path(out)
        return certify(self, Path(folder), Path(key), terms.name(by), path, passphrase)

    def models(self) -> list[Model]:
        """Return all versions of all models, in the order of their making."""
        with self.reading() as connection:
            return all_of(connection)

    def replaced_by(self, number: int) -> list[Model]:
        """Return the model that a request has led to, and what descends from it."""
        with self.reading() as connection:
            query = select(jobs.c.model).where(jobs.c.id == get(connection, number).job)
            model, found = connection.execute(query).scalar() or 0, all_of(connection)
        return [m for m in found if m.number == model] + descendants(found, model)

    def verify(self, expected: str | None = None) -> Checked:
        """Say which row is the first that is not as it was written, or that no table bears out.

        Args:
            expected: a hash that was printed when it was the last one; without it nobody can tell
                a log whose end was cut off from one that ends there.

        """
        with self.reading() as connection:
            return verified(connection, expected)

    def purge(self, number: int, *, by: str, also: Sequence[Path] = ()) -> Purged:
        """Delete what was kept of a closed request's images, and retire the models that knew them.

        Args:
            number: of the request.
            by: who does so, as claimed.
            also: folders of runs and fleets, and buffers, that were made of the images elsewhere.

        """
        done = purge(self, number, terms.name(by), also)
        self.scrub(rebuild=True)
        return done

    def answer(self, number: int) -> str:
        """Return the answer to the person, as plain text."""
        with self.reading() as connection:
            found = get(connection, number)
            config, rows = json.loads(settings(connection, number)), entries(connection, number)
        return letter(found, rows, config)

    def export(self, kind: str) -> str:
        """Return all of the ledger as JSON, or its log as CSV; ids and keys are no part of it."""
        with self.reading() as connection:  # one snapshot: a worker may write meanwhile
            found, rows = verified(connection, None), entries(connection)
            stand = listed(connection, False, None, 0)
        return as_csv(rows) if kind == "csv" else as_json(stand, rows, found)

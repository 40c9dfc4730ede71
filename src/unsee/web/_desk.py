"""What the pages and the API do, once: everything goes through the ledger and the shelf."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsee.errors import LedgerError, OptionError, SigningKeyError, SplitError
from unsee.events import warn
from unsee.ledger import ErasureRequest, Ledger, Model, State, place_of, same
from unsee.nouns import Config
from unsee.web._access import Visitor
from unsee.web._aside import Aside, Gone
from unsee.web._ids import ids_file
from unsee.web._shelf import NotFound, Shelf

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FROM_OUTSIDE = ("class", "where", "path")  # rules that name no file of this machine
ENDS = re.compile(r"[\r\n\0]")  # of lines in a file of ids, and of texts in some databases
SOON = 7  # days


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


@dataclass
class Desk:
    """Requests, the runs that serve them, and the settings of what comes in here."""

    ledger: Ledger
    shelf: Shelf
    config: Config  # of requests that are made on the page: model, data, method
    key: Path | None = None  # private, of certificates that are made on the page
    aside: Aside = field(default_factory=Aside)

    async def preview(self, wanted: Wanted, gone: Gone, config: Config | None = None) -> Preview:
        """Open the data and count; nothing is written but a list of ids that is deleted again.

        Args:
            wanted: which images.
            gone: tells whether the visitor has left; then counting stops.
            config: model, data and method; None: those of requests that are made on the page.

        """
        wanted.checked()
        words = wanted.rule or f"{len(wanted.listed)} ids"
        with ids_file(wanted.listed) as file:
            rule = wanted.rule or f"ids={file}"
            asked = asdict(replace(config or self.config, forget=rule))
            told = await self.aside.ask("unsee.rehearsal", asked, gone)
        if "error" in told:
            raise SplitError(told["error"].replace(str(file), "the ids"))
        notes = (note.replace(rule, words) for note in told["notes"])
        return Preview(told["found"] | {"rule": words}, tuple(notes))

    def wanted(self, number: int) -> Wanted | None:
        """Return which images an open request is about, None once it is closed."""
        scope = self.ledger.scope(number)
        if scope is None:
            return None
        return Wanted(ids=scope.values) if scope.kind == "ids" else Wanted(scope.rule)

    def known(self, number: int) -> Wanted:
        """Return which images a request is about.  Raises NotFound once it is closed."""
        if (wanted := self.wanted(number)) is None:
            raise NotFound(f"Expected an open request, got {number}: nobody knows its images now")
        return wanted

    async def preview_of(self, number: int, gone: Gone) -> Preview:
        """Count what a request would touch, by its own settings.  Raises NotFound if closed."""
        return await self.preview(self.known(number), gone, self.ledger.config(number))

    def add(
        self, subject: str, wanted: Wanted, visitor: Visitor, received: date | None, why: str
    ) -> int:
        """Register a request; whether its images are there is told by preview, and by its run."""
        wanted.checked()
        return self.ledger.add(
            subject,
            self.config,
            by=visitor.name,
            rule=wanted.rule or None,
            ids=wanted.listed,
            received=received,
            why=why,
        )

    def close(
        self, number: int, visitor: Visitor, why: str, answers: dict[str, str], *, partly: bool
    ) -> State:
        """Close a request; ``answers``: by item "done", or why it is not going to be."""
        return self.ledger.close(
            number,
            by=visitor.name,
            why=why,
            partly=partly,
            done=[item for item, said in answers.items() if said == "done"],
            not_done={item: said for item, said in answers.items() if said != "done"},
        )

    def days_left(self, request: ErasureRequest) -> int:
        """Return the days until a request has to be answered; below 0 it is late."""
        return (request.due - self.ledger.clock().date()).days

    def listed(
        self, *, open_only: bool, limit: int, offset: int
    ) -> tuple[list[ErasureRequest], int]:
        """Return some requests, the one that is due first at the front, and how many there are."""
        found = self.ledger.requests(open_only=open_only, limit=limit, offset=offset)
        return found, self.ledger.count(open_only=open_only)

    def is_own(self, request: ErasureRequest, visitor: Visitor) -> bool:
        """Say whether a visitor added this request, and so may not approve it."""
        return same(request.added_by, visitor.name)

    def run_of(self, request: ErasureRequest) -> str | None:
        """Return the name of the run that serves a request, None before there is one."""
        name = "" if request.job is None else place_of(request.job)
        ours = self.shelf.has(name) and self.ledger.served(self.shelf.folder(name))
        return name if ours else None

    def families(self) -> dict[int, list[tuple[int, Model]]]:
        """Return the models by line; each with its distance from the original, parents first."""
        found: dict[int, list[tuple[int, Model]]] = {}
        depth: dict[int, int] = {}
        for model in self.ledger.models():
            depth[model.number] = 0 if model.parent is None else depth.get(model.parent, 0) + 1
            found.setdefault(model.line, []).append((depth[model.number], model))
        return found

    def public_key(self) -> "Ed25519PublicKey | None":
        """Return the key by which certificates of this server are verified, None without one.

        Raises OptionError if its file is not usable any more.
        """
        if self.key is None:
            return None
        from unsee.certificate import private_key

        with keeping_place():
            return private_key(self.key).public_key()

    def certify(self, name: str, visitor: Visitor) -> None:
        """Sign what a finished run did and measured; of a request's run the ledger says so.

        Raises:
            NotFound: if there is no such run.
            OptionError: if there is no key, or none that is usable.
            UnseeError: if the run is not finished, or not as it was written.

        """
        if self.key is None:
            raise OptionError("Expected a key to sign with, got none: unsee serve --key FILE")
        from unsee.certificate import certify
        from unsee.locking import of_a_ledger

        folder = self.shelf.folder(name)
        with keeping_place():
            if of_a_ledger(folder):
                self.ledger.certify(folder, self.key, by=visitor.name)
            else:
                certify(folder, self.key)


@contextmanager
def keeping_place() -> Iterator[None]:
    """Tell the terminal what is wrong with the key, and a visitor no more than that it is.

    The text of a SigningKeyError names a file of this machine.
    """
    try:
        yield
    except SigningKeyError as error:
        warn(str(error))
        raise OptionError(
            "Expected this server's key to be usable, got one that is not: its terminal says why"
        ) from error

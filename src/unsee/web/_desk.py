"""What the pages and the API do, once: everything goes through the ledger and the shelf."""

from asyncio import to_thread
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from unsee.errors import (
    LedgerError,
    ModelError,
    OptionError,
    RunError,
    SigningKeyError,
    SplitError,
    UnseeError,
)
from unsee.events import warn
from unsee.ledger import (
    ErasureRequest,
    Ledger,
    Model,
    State,
    as_it_begins,
    ids_file,
    place_of,
    same,
    without_files,
)
from unsee.nouns import Config
from unsee.web._access import Visitor
from unsee.web._aside import Aside, Asking, Gone
from unsee.web._shelf import Shelf
from unsee.web._wanted import Preview, Wanted, Which

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FAMILIES = ("resnet18", "timm")  # whose architectures have a colon in their names
SOON = 7  # days


@dataclass
class Desk:
    """Requests, the runs that serve them, and the settings of what comes in here."""

    ledger: Ledger
    shelf: Shelf
    config: Config  # of requests that are made on the page: model, data, method
    key: Path | None = None  # private, of certificates that are made on the page
    aside: Aside = field(default_factory=Aside)

    async def preview(self, wanted: Wanted, gone: Gone) -> Preview:
        """Open the data and count; nothing is written but a list of ids that is deleted again.

        Args:
            wanted: which images.
            gone: tells whether the visitor has left; then counting stops.

        """
        wanted.checked()

        @contextmanager
        def asked() -> Iterator[Config]:
            with ids_file(wanted.listed) as file:
                yield replace(self.config, forget=wanted.rule or f"ids={file}")

        return await self._counted(asked, wanted.words, gone)

    async def preview_of(self, number: int, gone: Gone) -> Preview:
        """Count what a request would touch if its run began now; no code of its own is run.

        Raises:
            LedgerError: if it is closed, or not what was added, or wants code that is not ours.

        """
        request = await to_thread(self.ledger.asked, number)

        @contextmanager
        def asked() -> Iterator[Config]:
            with ExitStack() as files:
                with keeping_place(ModelError, "the model in use"):
                    config = files.enter_context(as_it_begins(request))
                yield self.known(config)

        return await self._counted(asked, Wanted.of(request.scope).words, gone)

    def known(self, config: Config) -> Config:
        """Return a config that runs no code but ours and what this server was started with.

        Who adds a request on the command line may name a file; nobody has approved it yet.

        Raises:
            LedgerError: if it would.

        """
        for name, own in (("method", ".py:" in config.method), ("arch", _imports(config.arch))):
            asked = getattr(config, name)
            if own and asked != getattr(self.config, name):
                raise LedgerError(
                    f"Expected a request without code of its own, got --{name} {asked}, which a "
                    "preview would run: read it, and look with unsee request preview"
                )
        return config

    async def _counted(self, asked: Asking, words: str, gone: Gone) -> Preview:
        told = await self.aside.ask("unsee.rehearsal", asked, gone)
        if "error" in told:
            raise SplitError(without_files(told["error"], words))
        notes = (without_files(note, words) for note in told["notes"])
        return Preview(told["found"] | {"rule": words}, tuple(notes))

    def which(self, request: ErasureRequest) -> Which:
        """Return which images an open request is about, and how it would be served."""
        try:
            found = self.ledger.asked(request.number)
            return Which(Wanted.of(found.scope), Config.from_json(found.config))
        except (LedgerError, RunError) as error:  # closed meanwhile, or tampered with
            return Which(why=str(error))

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
        """Close a request.

        Args:
            number: of it.
            visitor: who closes it.
            why: a note.
            answers: by item "done", or why it is not going to be.
            partly: whether it was served in part only.

        Raises:
            LedgerError: if it cannot be closed, or a reason is "done" in another spelling.

        """
        if meant := [item for item, said in answers.items() if said.lower() == "done" != said]:
            raise LedgerError(f"Expected 'done', or why not, for {meant}, got another spelling")
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

    def letter(self, request: ErasureRequest) -> str:
        """Return the answer to the person, "" while there is none."""
        try:
            return self.ledger.answer(request.number)
        except LedgerError:  # nothing is decided or put off
            return ""

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


def _imports(arch: str | None) -> bool:
    """Tell whether an architecture is code of somebody's own; unsee.models would bring torch."""
    family, colon, _ = (arch or "").partition(":")
    return bool(colon) and family not in FAMILIES


@contextmanager
def keeping_place(
    kind: type[UnseeError] = SigningKeyError, what: str = "this server's key"
) -> Iterator[None]:
    """Tell the terminal what is wrong with a file, and a visitor no more than that it is.

    The text of such an error names a file of this machine.
    """
    try:
        yield
    except kind as error:
        warn(str(error))
        raise OptionError(
            f"Expected {what} to be usable, got one that is not: the server's terminal says why"
        ) from error

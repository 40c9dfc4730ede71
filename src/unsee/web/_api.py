"""The same as the pages, as JSON: ``/api/v1``, described by ``/api/v1/openapi.json``: requests.

A program shows its token in the header ``Authorization: Bearer TOKEN``.  An error is
``{"error": WHY}``: 400 no JSON, 401 no valid token, 403 not this role, 404 no such thing, 413 too
much, 422 another value was expected, 503 too many ask at once.
"""

from asyncio import to_thread
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unsee.errors import LedgerError
from unsee.ledger import CHECKLIST, ErasureRequest, Model
from unsee.web._desk import Desk
from unsee.web._visitors import AtDesk, Decider, Reader, Requester, Settler, request_of
from unsee.web._wanted import Preview, Wanted

Number = Annotated[int, Path(description="of a request; 404 if there is none")]
Line = Annotated[str, Field(max_length=2000)]
Id = Annotated[  # as it is: without its blanks it may be another's
    str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=False)
]


class Fault(BaseModel):
    """Why something was not done."""

    error: str


FAULTS: dict[int | str, dict[str, Any]] = {
    code: {"model": Fault} for code in (400, 401, 403, 404, 405, 413, 422)
}
ASIDE: dict[int | str, dict[str, Any]] = {code: {"model": Fault} for code in (500, 503)}
router = APIRouter(responses=FAULTS)


class Body(BaseModel):
    """What is sent; a field that is not known is refused, for it may be a misspelt one."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Scope(Body):
    """Which images: a rule (``class=``, ``where=``, ``path=``) or ids."""

    rule: Line = ""
    ids: Annotated[list[Id], Field(max_length=1_000_000)] = []

    def wanted(self) -> Wanted:
        """Return it as the desk takes it."""
        return Wanted(self.rule, self.ids)


class Which(BaseModel):
    """Which images a request is about, as it was added, and how it would be served."""

    rule: str
    ids: list[str]
    data: str
    model: str | None  # None: a run trains it
    arch: str | None
    method: str


class NewRequest(Scope):
    """A request to register; ``subject`` is an opaque token, never a name."""

    subject: Annotated[str, Field(max_length=128)]
    received: date | None = None
    why: Line = ""


class Reason(Body):
    """Why."""

    why: Line = ""


class Extension(Body):
    """Until when, and why."""

    until: date
    why: Line


class Closing(Body):
    """How a request closes: of each item "done", or why it is not going to be."""

    checklist: dict[Literal["source", "backups", "caches", "exports", "recipients"], Line]
    partly: bool = False
    why: Line = ""


class Told(BaseModel):
    """A request as it stands."""

    number: int
    subject: str
    state: str
    received: date
    due: date
    days_left: int
    kind: str
    count: int
    added_by: str
    light: str
    run: str | None


class Version(BaseModel):
    """One version of a line's model."""

    number: int
    line: int
    parent: int | None  # None: the original
    path: str  # the file's name, without its place
    sha256: str
    state: str  # in use, superseded, retired


class Shown(Told):
    """A request, what was said of its checklist so far, and what replaces the model."""

    checklist: dict[str, str]  # item: done or refused
    models: list[Version]  # the one that it led to, and what descends from that


class Listed(BaseModel):
    """A part of the requests, the one that is due first at the front."""

    total: int
    requests: list[Told]


class Made(BaseModel):
    """The number of a request that was registered."""

    number: int


class Previewed(BaseModel):
    """What a request would touch, and about how long it would take."""

    rule: str
    counts: dict[str, int]
    trained: int
    shown: int
    classes: list[tuple[str, int, int, int]]
    seconds: dict[str, float]
    notes: list[str]


class Checked(BaseModel):
    """Whether the log is as it was written."""

    entries: int  # that are as they were written
    last: str  # the hash of the last of them
    bad: int | None  # the first row that is not
    why: str


def told(desk: Desk, request: ErasureRequest) -> Told:
    """Return a request as JSON has it."""
    facts = asdict(request) | {"days_left": desk.days_left(request), "run": desk.run_of(request)}
    return Told(**{name: facts[name] for name in Told.model_fields})


def version(model: Model) -> Version:
    """Return a model as JSON has it."""
    return Version(**asdict(model) | {"path": model.path.name})


def previewed(found: Preview) -> Previewed:
    """Return what would be touched as JSON has it."""
    facts = {k: found.found[k] for k in Previewed.model_fields if k in found.found}
    return Previewed(**facts, notes=[*found.notes])


@router.get("/requests")
def requests(
    visitor: Reader,
    desk: AtDesk,
    open_only: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Listed:
    """List requests."""
    found, total = desk.listed(open_only=open_only, limit=limit, offset=offset)
    return Listed(total=total, requests=[told(desk, each) for each in found])


@router.post("/requests", status_code=201)
def add(new: NewRequest, visitor: Requester, desk: AtDesk) -> Made:
    """Register a request."""
    number = desk.add(new.subject, new.wanted(), visitor, new.received, new.why)
    return Made(number=number)


@router.post("/preview", responses=ASIDE)
async def preview(scope: Scope, request: Request, visitor: Requester, desk: AtDesk) -> Previewed:
    """Count what a request would touch; nothing is written, and who leaves stops it."""
    return previewed(await desk.preview(scope.wanted(), request.is_disconnected))


@router.get("/requests/{number}")
def one(number: Number, visitor: Reader, desk: AtDesk) -> Shown:
    """Show one request."""
    found = told(desk, request_of(desk, number))
    models = [version(model) for model in desk.ledger.replaced_by(number)]
    return Shown(**found.model_dump(), checklist=desk.ledger.answers(number), models=models)


@router.get("/requests/{number}/scope")
def scope(number: Number, visitor: Decider, desk: AtDesk) -> Which:
    """Say which images an open request is about, and how it would be served; 422 once closed."""
    found = desk.which(request_of(desk, number))
    if found.wanted is None or found.config is None:
        raise LedgerError(found.why)
    told = {name: getattr(found.config, name) for name in ("data", "model", "arch", "method")}
    return Which(rule=found.wanted.rule, ids=[*found.wanted.ids], **told)


@router.post("/requests/{number}/preview", responses=ASIDE)
async def look(number: Number, request: Request, visitor: Decider, desk: AtDesk) -> Previewed:
    """Count what an open request would touch; nothing is written, and who leaves stops it."""
    await to_thread(request_of, desk, number)
    return previewed(await desk.preview_of(number, request.is_disconnected))


@router.get("/requests/{number}/log")
def log(number: Number, visitor: Reader, desk: AtDesk) -> list[dict[str, Any]]:
    """Show what was done about one request, in the order of writing."""
    request_of(desk, number)
    return [asdict(entry) for entry in desk.ledger.entries(number)]


@router.get("/requests/{number}/answer", response_class=PlainTextResponse)
def answer(number: Number, visitor: Reader, desk: AtDesk) -> str:
    """Hand out the answer to the person, as plain text; 422 while there is none."""
    request_of(desk, number)
    return desk.ledger.answer(number)


@router.post("/requests/{number}/approve")
def approve(number: Number, reason: Reason, visitor: Decider, desk: AtDesk) -> Told:
    """Let a request be served; not by who added it."""
    request_of(desk, number)
    desk.ledger.approve(number, by=visitor.name, why=reason.why)
    return told(desk, request_of(desk, number))


@router.post("/requests/{number}/refuse")
def refuse(number: Number, reason: Reason, visitor: Decider, desk: AtDesk) -> Told:
    """Close a request without serving it."""
    request_of(desk, number)
    desk.ledger.refuse(number, by=visitor.name, why=reason.why)
    return told(desk, request_of(desk, number))


@router.post("/requests/{number}/extend")
def extend(number: Number, extension: Extension, visitor: Settler, desk: AtDesk) -> Told:
    """Put the due date off."""
    request_of(desk, number)
    desk.ledger.extend(number, extension.until, by=visitor.name, why=extension.why)
    return told(desk, request_of(desk, number))


@router.post("/requests/{number}/close")
def close(number: Number, closing: Closing, visitor: Settler, desk: AtDesk) -> Told:
    """Close an audited request, whose checklist is answered."""
    request_of(desk, number)
    answers = {str(item): said for item, said in closing.checklist.items()}
    desk.close(number, visitor, closing.why, answers, partly=closing.partly)
    return told(desk, request_of(desk, number))


@router.get("/checklist")
def checklist(visitor: Reader) -> dict[str, str]:
    """Return what has to be answered before a request closes."""
    return dict(CHECKLIST)


@router.get("/ledger/verify")
def verify(
    visitor: Reader, desk: AtDesk, expected: Annotated[str, Query(max_length=64)] = ""
) -> Checked:
    """Read all of the log, and name the first row that is not as it was written."""
    found = desk.ledger.verify(expected or None)
    return Checked(entries=found.count, last=found.last, bad=found.bad, why=found.why)

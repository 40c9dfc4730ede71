"""The pages of requests: list, one of them, a new one, and the way in."""

from asyncio import to_thread
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from unsee.errors import LedgerError
from unsee.ledger import CHECKLIST, SOURCE, TRANSITIONS, ErasureRequest, day
from unsee.web._access import LASTS
from unsee.web._desk import SOON, Desk
from unsee.web._template import page
from unsee.web._visitors import (
    AtDesk,
    Decider,
    Reader,
    Requester,
    Settler,
    access_of,
    cookie_of,
    forget_cookie,
    request_of,
)
from unsee.web._wanted import Wanted

router = APIRouter()
PER_PAGE = 50
MOST_IDS = 200  # that a request's page lists; the API has all
Text = Annotated[str, Form(max_length=2000)]
Page = Annotated[int, Query(ge=1, le=100_000)]


@dataclass(frozen=True)
class Row:
    """A request as the list shows it."""

    request: ErasureRequest
    days: int

    @property
    def urgency(self) -> str:
        """The word that the list is coloured by; it is written, too."""
        if not self.request.open:
            return "closed"
        return "late" if self.days < 0 else "soon" if self.days <= SOON else "open"

    @property
    def countdown(self) -> str:
        """How long is left, in words."""
        if not self.request.open:
            return "–"
        if self.days < 0:
            return f"{-self.days} day{'s' * (self.days != -1)} late"
        return "today" if self.days == 0 else f"{self.days} day{'s' * (self.days != 1)} left"


def row_of(desk: Desk, request: ErasureRequest) -> Row:
    """Return a request with its countdown."""
    return Row(request, desk.days_left(request))


@router.get("/", response_class=HTMLResponse)
def requests(
    request: Request, visitor: Reader, desk: AtDesk, show: str = "open", at: Page = 1
) -> str:
    """Show the requests, the one that is due first at the front."""
    open_only, ledger = show != "all", desk.ledger
    total = ledger.count(open_only=open_only)
    pages = max(1, -(-total // PER_PAGE))
    at = min(at, pages)
    found = ledger.requests(open_only=open_only, limit=PER_PAGE, offset=PER_PAGE * (at - 1))
    rows = [row_of(desk, each) for each in found]
    facts = {"rows": rows, "total": total, "show": show, "at": at, "pages": pages}
    return page("requests.html.jinja", request, visitor, **facts)


@router.get("/requests/{number}", response_class=HTMLResponse)
def one(request: Request, number: int, visitor: Reader, desk: AtDesk) -> str:
    """Show one request: how it stands, what can be done, and all that was done."""
    found = request_of(desk, number)
    decides = found.open and visitor.may("decide")
    return page(
        "request.html.jinja",
        request,
        visitor,
        row=row_of(desk, found),
        following=TRANSITIONS[found.state],
        checklist=CHECKLIST,
        answers=desk.ledger.answers(number),
        log=desk.ledger.entries(number),
        run=desk.run_of(found),
        models=desk.ledger.replaced_by(number),
        own=desk.is_own(found, visitor),
        which=desk.which(found) if decides else None,
        most=MOST_IDS,
        source=SOURCE,
        letter=desk.letter(found),
    )


@router.post("/requests/{number}/preview", response_class=HTMLResponse)
async def look(request: Request, number: int, visitor: Decider, desk: AtDesk) -> str:
    """Show who decides what a request would touch; nothing is written."""
    await to_thread(request_of, desk, number)
    found = await desk.preview_of(number, request.is_disconnected)
    return page("preview.html.jinja", request, visitor, preview=found)


@router.get("/new", response_class=HTMLResponse)
def new(request: Request, visitor: Requester, desk: AtDesk) -> str:
    """Show the form of a new request."""
    return page("new.html.jinja", request, visitor, config=desk.config)


@router.post("/new/preview", response_class=HTMLResponse)
async def preview(
    request: Request,
    visitor: Requester,
    desk: AtDesk,
    rule: Text = "",
    ids: Annotated[str, Form(max_length=4_000_000)] = "",
) -> str:
    """Show what a request would touch; nothing is written, and who leaves stops it."""
    found = await desk.preview(Wanted.typed(rule, ids), request.is_disconnected)
    return page("preview.html.jinja", request, visitor, preview=found)


@router.post("/requests")
def add(
    visitor: Requester,
    desk: AtDesk,
    subject: Text,
    rule: Text = "",
    ids: Annotated[str, Form(max_length=4_000_000)] = "",
    received: Text = "",
    why: Text = "",
) -> Response:
    """Register a request."""
    wanted = Wanted.typed(rule, ids)
    since = day(received) if received else None
    return _to(desk.add(subject, wanted, visitor, since, why))


@router.post("/requests/{number}/approve")
def approve(number: int, visitor: Decider, desk: AtDesk, why: Text = "") -> Response:
    """Let a request be served."""
    request_of(desk, number)
    desk.ledger.approve(number, by=visitor.name, why=why)
    return _to(number)


@router.post("/requests/{number}/refuse")
def refuse(number: int, visitor: Decider, desk: AtDesk, why: Text = "") -> Response:
    """Close a request without serving it."""
    request_of(desk, number)
    desk.ledger.refuse(number, by=visitor.name, why=why)
    return _to(number)


@router.post("/requests/{number}/extend")
def extend(
    number: int, visitor: Settler, desk: AtDesk, until: Annotated[date, Form()], why: Text = ""
) -> Response:
    """Put the due date off."""
    request_of(desk, number)
    desk.ledger.extend(number, until, by=visitor.name, why=why)
    return _to(number)


async def _form(request: Request) -> dict[str, str]:
    return {key: str(value) for key, value in (await request.form()).items()}


@router.post("/requests/{number}/close")
def close(
    number: int, visitor: Settler, desk: AtDesk, form: Annotated[dict[str, str], Depends(_form)]
) -> Response:
    """Close an audited request with what was said of each item of the checklist."""
    request_of(desk, number)
    said = {item: _answer(item, form) for item in CHECKLIST}
    desk.close(number, visitor, form.get("why", ""), said, partly="partly" in form)
    return _to(number)


def _answer(item: str, form: dict[str, str]) -> str:
    """Return "done", or why an item is not going to be; what the page shows is all that counts."""
    done, why = f"{item}-done" in form, form.get(f"{item}-why", "").strip()
    if done == bool(why) or why.casefold() == "done":
        got = "both" if done else repr(why) if why else "neither"
        raise LedgerError(f"Expected {item!r} ticked or a reason why it will not be, got {got}")
    return "done" if done else why


@router.get("/login", response_class=HTMLResponse)
def login(request: Request, once: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Let a browser in by the secret of its link, or ask for a token."""
    if not once:
        return HTMLResponse(page("login.html.jinja", request, why=""))
    visitor = access_of(request).by_link(once)
    if visitor is None:
        why = "This link was used before, or is not of this start of the server."
        return HTMLResponse(page("login.html.jinja", request, why=why), 403)
    return _in(request, access_of(request).enter(visitor))


@router.post("/login")
def enter(request: Request, token: Annotated[str, Form(max_length=200)]) -> Response:
    """Let a browser in by a token that was typed."""
    visitor = access_of(request).by_token(token.strip())
    if visitor is None:
        why = "Expected a token that this server knows, got another."
        return HTMLResponse(page("login.html.jinja", request, why=why), 403)
    return _in(request, access_of(request).enter(visitor))


@router.post("/logout")
def leave(request: Request) -> Response:
    """End a browser's session."""
    access_of(request).leave(request.cookies.get(cookie_of(request), ""))
    return forget_cookie(request, RedirectResponse("/login", 303))


def _in(request: Request, secret: str) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        cookie_of(request),
        secret,
        max_age=int(LASTS),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


def _to(number: int) -> Response:
    return RedirectResponse(f"/requests/{number}", 303)

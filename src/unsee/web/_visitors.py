"""Who is behind a request, and whether they may do what they ask for."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response
from starlette.types import Scope

from unsee.errors import LedgerError
from unsee.ledger import ErasureRequest
from unsee.web._access import MAY, Access, Visitor
from unsee.web._desk import Desk
from unsee.web._shelf import NotFound

LARGEST = 2**31 - 1  # number that a column of the ledger holds


class Nobody(Exception):
    """No token and no session, or one that is over."""


def access_of(request: Request) -> Access:
    """Return who may come in."""
    access: Access = request.app.state.access
    return access


def desk_of(request: Request) -> Desk:
    """Return where the work is done."""
    desk: Desk = request.app.state.desk
    return desk


def cookie_of(request: Request) -> str:
    """Return the name of the session's cookie: browsers tell hosts apart, and not their ports."""
    if request.url.scheme == "https":  # __Host-: of this host alone, over TLS alone
        return f"__Host-unsee-{request.url.port or 443}"
    return f"unsee-{request.url.port or 80}"


def forget_cookie(request: Request, answer: Response) -> Response:
    """Let a browser delete its cookie; it takes no word on a __Host- one that is not Secure."""
    answer.delete_cookie(
        cookie_of(request), secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer


def visitor_of(request: Request) -> Visitor:
    """Return who is behind a request: by the header of a program, or by a browser's cookie.

    Raises:
        Nobody: if it is neither.

    """
    access, header = access_of(request), request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        found = access.by_token(token.strip()) if scheme.lower() == "bearer" else None
    else:
        found = access.by_session(request.cookies.get(cookie_of(request), ""))
    if found is None:
        raise Nobody("Expected a token in the header `Authorization: Bearer TOKEN`, got none valid")
    return found


def is_in(scope: Scope) -> bool:
    """Return whether a message comes from somebody who showed a token."""
    try:
        visitor_of(Request(scope))
    except Nobody:
        return False
    return True


def allowed(what: str) -> Callable[[Request], Visitor]:
    """Return a dependency: the visitor, who may do ``what``, one of MAY."""

    def check(request: Request) -> Visitor:
        visitor = visitor_of(request)
        if not visitor.may(what):
            raise HTTPException(
                403, f"Expected a role among {[*MAY[what]]} for this, got {visitor.role}"
            )
        return visitor

    return check


def request_of(desk: Desk, number: int) -> ErasureRequest:
    """Return one request.  Raises NotFound; no database is asked for a number it cannot hold."""
    if not 1 <= number <= LARGEST:
        raise NotFound(f"Expected the number of a request, got {str(number)[:20]}")
    try:
        return desk.ledger.show(number)
    except LedgerError as error:
        raise NotFound(f"Expected the number of a request, got {number}") from error


Reader = Annotated[Visitor, Depends(visitor_of)]
Requester = Annotated[Visitor, Depends(allowed("request"))]
Decider = Annotated[Visitor, Depends(allowed("decide"))]
Settler = Annotated[Visitor, Depends(allowed("settle"))]
AtDesk = Annotated[Desk, Depends(desk_of)]

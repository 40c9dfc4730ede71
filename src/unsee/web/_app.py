"""The application: doors, then who it is, then pages or API."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from unsee.errors import UnseeError
from unsee.ledger import clear_left
from unsee.web import _api, _api_runs, _certificates, _pages, _progress, _runs
from unsee.web._access import Access
from unsee.web._desk import Desk
from unsee.web._doors import Doors
from unsee.web._shelf import NotFound
from unsee.web._template import page
from unsee.web._visitors import Nobody, Reader, forget_cookie, is_in

API = "/api/v1"
KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
}


def application(
    desk: Desk, access: Access, hosts: Iterable[str] = (), *, behind_tls: bool = False
) -> FastAPI:
    """Return the web application.

    Args:
        desk: the ledger, the runs, and the settings of new requests.
        access: who may come in.
        hosts: names of this server, besides those of this machine.
        behind_tls: whether browsers reach it through a proxy that speaks https with them.

    """
    clear_left()
    app = FastAPI(
        title="unsee",
        version="1",
        description="Erasure requests, the runs that serve them, and the evidence.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # it is handed out to who has come in
    )
    app.state.desk, app.state.access, app.state.streams = desk, access, _progress.Streams()
    for room in (_api, _api_runs):
        app.include_router(room.router, prefix=API)
    for room in (_pages, _runs, _certificates, _progress):
        app.include_router(room.router, include_in_schema=False)
    app.add_api_route("/static/{name}", _static, include_in_schema=False)
    app.add_api_route(f"{API}/openapi.json", _described, include_in_schema=False)
    app.add_exception_handler(Nobody, _nobody)
    app.add_exception_handler(UnseeError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _failed)
    app.add_exception_handler(404, _failed)
    app.add_middleware(Doors, known=is_in, hosts=tuple(hosts), behind_tls=behind_tls)
    return app


@cache
def _assets() -> dict[str, bytes]:
    return {
        file.name: file.read_bytes() for file in files("unsee.web").joinpath("static").iterdir()
    }


def _static(name: str) -> Response:
    """Hand out one of our own files: the name is looked up among them."""
    content = _assets().get(name)
    if content is None:
        raise NotFound(f"Expected one of this server's own files, got {name[:80]!r}")
    kind = KINDS[f".{name.rpartition('.')[2]}"]
    return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})


def _described(request: Request, visitor: Reader) -> dict[str, Any]:
    """Describe the API."""
    app: FastAPI = request.app
    return app.openapi()


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith(f"{API}/")


def _answer(
    request: Request, status: int, why: str, headers: Mapping[str, str] | None = None
) -> Response:
    if _wants_json(request):
        return JSONResponse({"error": why}, status, headers=headers)
    if request.headers.get("hx-request") == "true":  # a part of a page: htmx shows what is 200
        return HTMLResponse(page("refused.html.jinja", request, why=why))
    return HTMLResponse(page("error.html.jinja", request, why=why, status=status), status, headers)


async def _nobody(request: Request, error: Exception) -> Response:
    if _wants_json(request):
        headers = {"www-authenticate": "Bearer"}
        return JSONResponse({"error": str(error)}, 401, headers=headers)
    if request.headers.get("hx-request") == "true":
        return Response(status_code=200, headers={"hx-redirect": "/login"})
    return forget_cookie(request, RedirectResponse("/login", 303))


async def _refused(request: Request, error: Exception) -> Response:
    desk: Desk = request.app.state.desk
    why = desk.shelf.without_root(str(error))
    return _answer(request, 404 if isinstance(error, NotFound) else 422, why)


async def _malformed(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    places = [".".join(map(str, fault["loc"][1:])) for fault in faults]
    told = "; ".join(
        f"{at}: {x['msg']}" if at else f"{x['msg']} (a body of JSON, sent as application/json)"
        for at, x in zip(places, faults, strict=True)
    )
    return _answer(request, 422, f"Expected other values: {told}"[:2000])


async def _failed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    why = str(getattr(error, "detail", "")) or "Expected a page that exists"
    return _answer(request, status, why, getattr(error, "headers", None))

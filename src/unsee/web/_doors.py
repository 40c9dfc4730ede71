"""What every message passes before anything else: whose it is, how long, and how slow.

A page of another site can make a browser talk to this machine, under a name of its own (DNS
rebinding) or with the visitor's cookie (request forgery).  So Host, Origin and Sec-Fetch-Site are
looked at on everything, there are no CORS headers, and nothing that is sent runs or is framed.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = ("127.0.0.1", "localhost", "::1")
METHODS = ("GET", "POST")
LONGEST_PATH = 4096  # bytes of path and query
LARGEST = 8 * 2**20  # bytes of a body
SMALL = 4096  # bytes of a body of who has not come in
TOGETHER = 8 * LARGEST  # bytes of all bodies that are here at once
SLOWEST = 20.0  # seconds until a body has to be here
WRITTEN = re.compile(r"[A-Za-z0-9.:\[\]-]+")  # what a Host header is made of
BROKEN = "Expected an answer, got a fault of this server: its terminal says more"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
REPORT_POLICY = (  # of a report, which brings its style and pictures with it, and no script
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with less, forms would come from the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


def host_of(value: str) -> str | None:
    """Return the name in a Host header, in lower case and without port and final dot.

    >>> host_of("LocalHost.:8000"), host_of("[::1]:80"), host_of("a@b"), host_of("")
    ('localhost', '::1', None, None)

    """
    try:
        parts = urlsplit(f"//{value}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or not WRITTEN.fullmatch(value) or parts.path:
        return None
    return name.removesuffix(".")


@dataclass(frozen=True)
class Refusal(Exception):
    """Why a message goes no further."""

    status: int
    why: str


class Doors:
    """ASGI middleware around the whole application.

    Args:
        app: what is behind the doors.
        known: whether a message comes from somebody who may come in.
        hosts: names by which this server may be called, besides those of this machine.
        behind_tls: browsers speak https to a proxy, which hands on what they say.  Said by who
            starts the server: no header is asked, for whoever connects can write any.

    """

    def __init__(
        self,
        app: ASGIApp,
        known: Callable[[Scope], bool],
        hosts: Iterable[str] = (),
        *,
        behind_tls: bool = False,
    ) -> None:
        self.app, self.known, self.behind_tls = app, known, behind_tls
        self.hosts = frozenset({*HERE, *(h.lower() for h in hosts)})
        self.held = 0  # bytes of bodies that are here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a message in or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket: there are none here
            await send({"type": "websocket.close", "code": 1008})
            return
        if self.behind_tls:  # origins, cookies and ports are those of what browsers see
            scope = {**scope, "scheme": "https"}

        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        body = bytearray()
        try:
            self.check(scope)
            await self.read(scope, receive, body)
            await self.app(scope, _again(bytes(body), receive), sent)
        except Refusal as refusal:
            response = _plain(scope, refusal.status, refusal.why)
            response.headers["connection"] = "close"  # what is left of the body is not read
            await response(scope, receive, sent)
        except Exception:  # a fault of ours: what stands outside would answer without HEADERS
            if not begun:
                await _plain(scope, 500, BROKEN)(scope, receive, sent)
            raise  # to the terminal, with its traceback
        finally:
            self.held -= len(body)

    def check(self, scope: Scope) -> None:
        """Look at method, address and headers.  Raises Refusal."""
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            raise Refusal(405, f"Expected {', '.join(METHODS)}, got another method")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_PATH:
            raise Refusal(414, f"Expected an address of at most {LONGEST_PATH} bytes")
        hosts = headers.getlist("host")
        host = host_of(hosts[0]) if len(hosts) == 1 else None
        if host not in self.hosts:
            raise Refusal(403, "Expected one Host header with a name of this server")
        for origin in headers.getlist("origin"):
            if origin.lower() != f"{scope['scheme']}://{hosts[0].lower()}":
                raise Refusal(403, "Expected no Origin, or this server's own")
        for site in headers.getlist("sec-fetch-site"):
            if site not in ("same-origin", "none"):
                raise Refusal(403, "Expected a request of this server's own pages")

    async def read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        """Read the body, whole, in time and not too large.  Raises Refusal."""
        most = LARGEST if scope["method"] == "POST" and self.known(scope) else SMALL
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared[:12]) > most:
            raise Refusal(413, f"Expected a body of at most {most} bytes")
        try:
            async with asyncio.timeout(SLOWEST):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":  # half a list of ids is no list
                        raise Refusal(400, "Expected the whole body, got a part of it")
                    body += message.get("body", b"")
                    self.held += len(message.get("body", b""))
                    if len(body) > most:
                        raise Refusal(413, f"Expected a body of at most {most} bytes")
                    if self.held > TOGETHER:
                        raise Refusal(503, "Expected fewer large bodies at once: try again")
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise Refusal(408, f"Expected the body within {SLOWEST:g} seconds") from None


def _plain(scope: Scope, status: int, why: str) -> Response:
    """Answer in words, or as the API does."""
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": why}, status)
    return PlainTextResponse(f"{why}\n", status)


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read; afterwards tell of what else comes: that the client left."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again

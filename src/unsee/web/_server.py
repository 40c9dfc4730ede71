"""The server of one machine: what arrives late, or is not taken, ends its own connection alone.

uvicorn limits how long a request line and headers may be.  It waits without end for a request that
trickles in, and for who asks and does not read: here both have a time, so that nobody can hold for
long what others need.
"""

import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from unsee.errors import OptionError
from unsee.web._progress import Streams

ARRIVES = 20.0  # seconds in which the first request of a connection has to be here
TAKEN = 60.0  # seconds in which an answer has to be taken, and the next request to be here
KEPT = 5  # seconds for which a connection waits without a word for its next request
SERVED = 200  # connections at once; more are told to come again
CROWD = 500  # connections at once; more are closed unheard
LONGEST_HEAD = 16_384  # bytes of request line and headers
PARTING = 3  # seconds that streams and requests get when the server stops


class Punctual(H11Protocol):
    """HTTP/1.1 over one connection, which ends where the other side keeps it waiting."""

    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > CROWD:
            transport.abort()
        else:
            self._wait(ARRIVES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what has come; a request that is whole up to its body has arrived."""
        super().handle_events()
        if self._answering() and not self.flow.write_paused:
            self._stop()

    def on_response_complete(self) -> None:
        """Begin to wait until the answer is taken and the next request is here."""
        self._wait(TAKEN)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a reader."""
        super().pause_writing()
        self._wait(TAKEN)

    def resume_writing(self) -> None:
        """Go on: somebody reads."""
        super().resume_writing()
        if self._answering():
            self._stop()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._alarm = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.  Raises OptionError if the address is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OptionError(
            f"Expected to listen at {host}, port {port}, got {error}: name another --port, or "
            "--host"
        ) from error


class Parting(uvicorn.Server):
    """A server that lets its streams end before it stops."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Punctual,
                ws="none",
                log_level="warning",
                access_log=False,  # addresses hold tokens and numbers of requests
                server_header=False,
                date_header=False,
                proxy_headers=False,
                limit_concurrency=SERVED,
                h11_max_incomplete_event_size=LONGEST_HEAD,
                timeout_keep_alive=KEPT,
                timeout_graceful_shutdown=PARTING,
            )
        )
        self.streams: Streams = app.state.streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: streams end with their next look, and who does not read loses the connection."""
        self.streams.closing = True
        for line in [*self.server_state.connections]:
            if isinstance(line, Punctual) and line.flow.write_paused:
                line.transport.abort()
        await super().shutdown(sockets)


def serve(app: FastAPI, door: socket.socket) -> None:
    """Answer at a socket until the process is stopped."""
    Parting(app).run(sockets=[door])

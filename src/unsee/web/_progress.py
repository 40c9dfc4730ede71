"""Live progress of a run as server-sent events: what its events.jsonl says last, without messages.

Those name rules, ids and files; whoever owns the folder reads them there.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from unsee.web._shelf import NotFound, Shelf
from unsee.web._visitors import AtDesk, Nobody, Reader, visitor_of

router = APIRouter()
EVERY = 0.5  # seconds between two looks at the file
ALIVE = 15.0  # seconds between two signs of life: without them nobody sees that a reader is gone
LONGEST = 3600.0  # seconds; a browser asks again
MOST, EACH = 100, 20  # streams at once: of everybody, and of one token


@dataclass
class Streams:
    """The streams that are open, by the token that opened them."""

    held: Counter[str] = field(default_factory=Counter)
    closing: bool = False

    @contextmanager
    def one(self, token: str) -> Iterator[None]:
        """Hold a place.  Raises HTTPException if there is none."""
        if self.held.total() >= MOST or self.held[token] >= EACH:
            why = f"Expected at most {EACH} readers of progress by one token, {MOST} in all"
            raise HTTPException(503, why, headers={"connection": "close"})
        self.held[token] += 1
        try:
            yield
        finally:
            self.held[token] -= 1


class Stream(StreamingResponse):
    """Server-sent events, for as long as there is a place for them."""

    def __init__(self, lines: AsyncIterator[str], place: Callable[[], Any]) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self.place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and give the place back whatever ends it."""
        with self.place():
            await super().__call__(scope, receive, send)


@router.get("/runs/{name}/progress")
async def progress(name: str, request: Request, visitor: Reader, desk: AtDesk) -> Stream:
    """Tell what a run does, until it is finished or the visitor is let in no more."""
    desk.shelf.folder(name)
    streams: Streams = request.app.state.streams

    def wanted() -> bool:
        try:
            return visitor_of(request).key == visitor.key and not streams.closing
        except Nobody:
            return False

    return Stream(_told(desk.shelf, name, wanted), lambda: streams.one(visitor.key))


async def _told(shelf: Shelf, name: str, wanted: Callable[[], bool]) -> AsyncIterator[str]:
    last, silent = None, 0.0
    for _ in range(int(LONGEST / EVERY)):
        if not wanted():
            return
        try:
            event = await asyncio.to_thread(shelf.last_event, name)
            finished = await asyncio.to_thread(shelf.finished, name)
        except NotFound:  # its folder was removed
            return
        if event is not None and event != last:
            last, silent = event, 0.0
            told = {key: value for key, value in event.items() if key != "message"}
            yield f"data: {json.dumps(told)}\n\n"
        elif silent >= ALIVE:
            silent = 0.0
            yield ": still here\n\n"
        if finished:
            yield "event: finished\ndata: {}\n\n"
            return
        await asyncio.sleep(EVERY)
        silent += EVERY

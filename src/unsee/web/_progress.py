"""Live progress of a run as server-sent events: what its events.jsonl says last."""

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse

from unsee.web._shelf import Shelf
from unsee.web._visitors import AtDesk, Reader

router = APIRouter()
EVERY = 0.5  # seconds between two looks at the file
LONGEST = 3600.0  # seconds; a browser asks again
MOST = 100  # streams at once
_open = 0


@router.get("/runs/{name}/progress")
async def progress(name: str, request: Request, visitor: Reader, desk: AtDesk) -> StreamingResponse:
    """Tell what a run does, until it is finished."""
    desk.shelf.folder(name)
    if _open >= MOST:
        raise HTTPException(503, f"Expected at most {MOST} readers of progress at once")
    return StreamingResponse(_told(desk.shelf, name), media_type="text/event-stream")


async def _told(shelf: Shelf, name: str) -> AsyncIterator[str]:
    global _open
    _open += 1
    try:
        last = None
        for _ in range(int(LONGEST / EVERY)):
            event = await asyncio.to_thread(shelf.last_event, name)
            if event is not None and event != last:
                last = event
                yield f"data: {json.dumps(event)}\n\n"
            if await asyncio.to_thread(shelf.finished, name):
                yield "event: finished\ndata: {}\n\n"
                return
            await asyncio.sleep(EVERY)
    finally:
        _open -= 1

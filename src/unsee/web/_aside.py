"""What takes the machine for seconds goes aside: to a process of its own, one after another.

The server answers everybody else meanwhile, loads no torch, and gives the memory back.  Whoever
asked may leave: then the process is stopped.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any

from fastapi import HTTPException

from unsee.nouns import Config

EVERY = 0.2  # seconds between two looks whether the visitor is still there
LONGEST = 600.0  # seconds, with the wait for others
WAITING = 8  # visitors at most whose turn has not come
LEFT = 499  # what nobody reads any more

Gone = Callable[[], Awaitable[bool]]
Asking = Callable[[], AbstractContextManager[Config]]


class Aside:
    """One process at a time that answers a question in JSON.

    A module that answers is run as ``python -m MODULE``: it reads the question from stdin and
    writes the answer as the last line of stdout.
    """

    def __init__(self) -> None:
        self.turn, self.asked = asyncio.Lock(), 0

    async def ask(self, module: str, asking: Asking, gone: Gone) -> dict[str, Any]:
        """Return what ``module`` answers.

        Args:
            module: of unsee.
            asking: makes the question when its turn has come, and clears up after the answer.
            gone: tells whether the visitor has left.

        Raises:
            HTTPException: if too many wait, it took too long, or the process came to nothing.

        """
        if self.asked > WAITING:
            raise HTTPException(503, f"Expected at most {WAITING} visitors to wait: try again")
        self.asked += 1
        try:
            async with asyncio.timeout(LONGEST), self.turn:
                with ExitStack() as stack:
                    config = await asyncio.to_thread(stack.enter_context, asking())
                    return await _answer(module, json.dumps(asdict(config), default=str), gone)
        except TimeoutError as error:
            why = f"Expected an answer within {LONGEST:.0f} s, got none: try fewer images"
            raise HTTPException(503, why) from error
        finally:
            self.asked -= 1


async def _answer(module: str, question: str, gone: Gone) -> dict[str, Any]:
    if await gone():  # while others had their turn
        raise HTTPException(LEFT, "the visitor has left")
    command = [sys.executable, "-P", "-m", module]  # -P: the folder of the start shadows nothing
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answer = asyncio.create_task(asyncio.to_thread(process.communicate, question))
    try:
        while not answer.done():
            await asyncio.wait([answer], timeout=EVERY)
            if not answer.done() and await gone():
                raise HTTPException(LEFT, "the visitor has left")
    finally:
        process.kill()  # nothing, if it has ended
        await asyncio.wait([answer])
    out, _ = answer.result()
    if process.returncode or not out.strip():
        raise HTTPException(
            500,
            f"Expected an answer, got a process that ended with {process.returncode}: see the "
            "server's terminal",
        )
    return dict(json.loads(out.splitlines()[-1]))

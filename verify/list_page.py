"""How long the list of requests takes: 10,000 requests and 100,000 rows of the log, in SQLite.

``python verify/list_page.py`` writes docs/evidence/list_page.json and a section of docs/web.md:
5th, 50th and 95th percentile of 200 answers of ``unsee serve`` over a socket and of 50 calls of
``unsee request list``, in milliseconds.  It exits with 1 if a 95th one is above what is allowed.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import provenance
import torch
from main_job import ROOT
from performance import machines, with_section
from sqlalchemy import insert, select

from unsee.accounting import environment
from unsee.ledger import Ledger
from unsee.ledger._schema import requests
from unsee.nouns import Config

RESULTS = ROOT / "docs" / "evidence" / "list_page.json"
PAGE, SECTION = ROOT / "docs" / "web.md", "list page"
WHAT = {"page": "a page of the list, through `unsee serve`", "command": "`unsee request list`"}
DECIDE = ("ledger", "web", "cli/_request.py")  # files of src/unsee
REQUESTS, ROWS = 10_000, 100_000
TOKEN, ADDRESS = "of-this-measurement", "/?show=open&at=100"
ALLOWED = {"page": 150.0, "command": 600.0}  # milliseconds


def filled(path: Path) -> None:
    """Write a ledger of that size, each row of its log in its place in the chain."""
    with Ledger(str(path)) as ledger:
        first = ledger.add("case-0", Config(data="digits"), by="ana", rule="class=1")
        with ledger.writing() as log:
            row = log.connection.execute(select(requests).where(requests.c.id == first)).mappings()
            facts = {key: x for key, x in dict(row.one()).items() if key != "id"}
            many = [facts | {"subject": f"case-{n}"} for n in range(1, REQUESTS)]
            log.connection.execute(insert(requests), many)
            for n in range(1, REQUESTS):
                dates = {"received": str(facts["received"]), "due": str(facts["due"])}
                log.append(n + 1, "ana", "received", **dates)
            for n in range(ROWS - REQUESTS):
                log.append(n % REQUESTS + 1, "ana", "looked at", "as often as such rows there are")
        found = ledger.verify()
        if found.bad is not None or found.count != ROWS:
            raise ArithmeticError(f"Expected a log of {ROWS} rows that verifies, got {found}")


@contextmanager
def serving(path: Path) -> Iterator[Callable[[], bytes]]:
    """Serve a ledger on loopback, and return a function that asks for a page of the list."""
    tokens = path.with_name("tokens")
    tokens.write_text(f"auditor eve {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    tokens.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "unsee", "serve", "--ledger", str(path), "--port", str(port)]
    command += ["--folder", str(path.parent / "jobs"), "--token-file", str(tokens)]
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{ADDRESS}")
    asked.add_header("authorization", f"Bearer {TOKEN}")

    def ask() -> bytes:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return bytes(answer.read())

    with subprocess.Popen(command) as process:
        try:
            _wait_for(port)
            if ask().count(b"<tr class=") != 50:
                raise ArithmeticError("Expected 50 requests on the page, got others")
            yield ask
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return milliseconds of each call; a first one warms up."""
    call()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - start))
    return spent


def main() -> None:
    """Measure both and write them down."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        filled(path)
        with serving(path) as ask:
            page = timed(ask, 200)
        command = [sys.executable, "-m", "unsee", "request", "list", "--ledger", str(path)]
        known = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        known["PYTHONPYCACHEPREFIX"] = folder  # compiled once, as an installed package is
        quiet = {"stdout": subprocess.DEVNULL, "check": True, "env": known}
        listed = timed(lambda: subprocess.run(command, **quiet), 50)
    found = {
        name: {
            **{f"p{q}": round(float(np.percentile(spent, q)), 1) for q in (5, 50, 95)},
            "n": len(spent),
            "allowed_p95": ALLOWED[name],
        }
        for name, spent in (("page", page), ("command", listed))
    }
    facts = {"requests": REQUESTS, "rows": ROWS, **found}
    facts["sources"] = provenance.of_files(DECIDE)
    facts["environment"] = environment(torch.device("cpu"))
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    PAGE.write_text(with_section(PAGE.read_text(), SECTION, lines(facts)))
    print("\n".join(lines(facts)))
    sys.exit(any(found[name]["p95"] > allowed for name, allowed in ALLOWED.items()))


def lines(facts: dict[str, Any]) -> list[str]:
    """Return the section of the page."""
    told = [
        f"{facts['requests']:,} requests and {facts['rows']:,} rows of the log in SQLite, "
        "milliseconds:",
        "",
        "| | n | 5th percentile | median | 95th percentile | allowed |",
        "|---|---|---|---|---|---|",
    ]
    for name, what in WHAT.items():
        own = facts[name]
        figures = " | ".join(f"{own[f'p{q}']:.0f}" for q in (5, 50, 95))
        told.append(f"| {what} | {own['n']} | {figures} | {own['allowed_p95']:.0f} |")
    return [*told, "", *machines({"list": {"machine": facts["environment"]}})]


if __name__ == "__main__":
    main()

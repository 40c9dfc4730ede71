"""Measure a ledger under load: 8 clients, 4 workers that are killed 50 times, 500 requests.

The pipeline is a stub of 50 ms and the lease 2 s.  Each client adds its requests, has each approved
by somebody else, waits for a worker and closes it.  Afterwards each request has to be completed
exactly once and the log has to be as it was written.  ``python verify/ledger_load.py`` prints a row
for SQLite and one for PostgreSQL, where there is a server; ``--real`` puts five requests on digits
through the real pipeline.
"""

import argparse
import dataclasses
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # also of the processes below
import stub_worker
from sqlalchemy import func, select

from unsee.errors import UnseeError
from unsee.ledger import CHECKLIST, Ledger, Worker
from unsee.ledger._schema import jobs
from unsee.nouns import Config

LINES, LEASE = 20, 2.0  # models that the requests are about; seconds
BUSY = select(jobs.c.worker).where(jobs.c.state == "running")
ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "docs" / "evidence" / "ledger.json"
PAGE, SECTION = ROOT / "docs" / "erasure-requests.md", "ledger"
FULL = {"requests": 500, "clients": 8, "workers": 4, "kills": 50}
DECIDE = ("ledger", "errors.py")  # files of src/unsee
HEAD = ("database", "requests", "kills", "done once", "seconds", "errors of clients", "log")


def client(url, name, numbers, errors):
    """Bring some requests from the first day to the last, as a person with a program would."""
    try:
        with Ledger(url, create=False) as ledger:
            waiting = set()
            for n in numbers:
                config = dataclasses.replace(Config(), seed=n % LINES)
                rule = f"where=person:{n}"  # served alone: 500 runs, not 20
                number = ledger.add(f"case-{n}", config, rule=rule, by=name)
                ledger.approve(number, by=f"not {name}")
                waiting.add(number)
            while waiting:
                stand = {r.number: r.state for r in ledger.requests(open_only=True)}
                if failed := [n for n in waiting if stand.get(n) == "failed"]:
                    raise RuntimeError(f"requests {failed} failed")
                for number in [n for n in waiting if stand.get(n) == "audited"]:
                    ledger.close(number, by=name, done=[*CHECKLIST])
                    waiting.remove(number)
                time.sleep(0.5)
    except UnseeError as error:
        errors.put(f"{type(error).__name__}: {error}")
    except Exception as error:
        errors.put(f"undocumented {type(error).__name__}: {error}")
        raise


def load(kind, url, folder, *, requests, clients, workers, kills):
    """Run it once, and return a row of the table."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stub_worker", "sqlalchemy.dialects.postgresql.psycopg"])
    errors, rng, killed, alive = context.Queue(), random.Random(0), 0, {}

    def start():
        name = f"worker {killed + len(alive)}"
        asked = (url, str(folder / "jobs"), name, LEASE)
        alive[name] = context.Process(target=stub_worker.work, args=asked, daemon=True)
        alive[name].start()

    Ledger(url).engine.dispose()
    begun = time.monotonic()
    people = [
        context.Process(
            target=client, args=(url, f"client {k}", range(k, requests, clients), errors)
        )
        for k in range(clients)
    ]
    for process in people:
        process.start()
    for _ in range(workers):
        start()
    with Ledger(url) as ledger:
        while any(process.is_alive() for process in people):
            time.sleep(rng.uniform(0.05, 0.5))
            with ledger.reading() as connection:
                served = connection.execute(select(func.count(jobs.c.model))).scalar()
                at_work = connection.execute(BUSY).scalars().all()
            # Spread over all of the work, and most of them at workers that hold a job.
            if killed < kills and killed * requests <= served * kills:
                victim = rng.choice([name for name in at_work if name in alive] or [*alive])
                alive[victim].kill()
                alive.pop(victim).join()
                killed += 1
                start()
    seconds = time.monotonic() - begun
    for process in alive.values():
        process.kill()
        process.join()
    told = Counter()
    while not errors.empty():
        told[errors.get()] += 1
    for text, count in told.items():
        print(f"{count} x {text}", file=sys.stderr)
    with Ledger(url, create=False) as ledger:
        found, rows = ledger.verify(), ledger.entries()
        what = Counter((row.request, row.what) for row in rows)
        done = [r.number for r in ledger.requests() if r.state == "completed"]
        once = sum(what[n, "audited"] == what[n, "completed"] == 1 for n in done)
        taken = sum(count for (_, name), count in what.items() if name == "taken over")
    log = found.why or f"{found.count} rows as written, {taken} takeovers"
    return kind, requests, killed, once, f"{seconds:.0f}", sum(told.values()), log


def real(folder):
    """Serve five requests on digits by the real pipeline, one after another on one model."""
    config = Config(data="digits", arch="convnet", train_epochs=8)
    with Ledger(str(folder / "real.sqlite")) as ledger:
        for place in range(5):
            ids = [f"train/{n:05d}" for n in range(place, 50, 5)]
            ledger.approve(ledger.add(f"case-{place}", config, ids=ids, by="a"), by="b")
            Worker(ledger, folder / "real", name="worker").serve(once=True)
        return {
            "requests": [[r.number, r.state, r.light] for r in ledger.requests()],
            "models": [[m.number, m.parent, m.state] for m in ledger.models()],
            "log": ledger.verify().why or "as written",
        }


def lines(told):
    """Return what the page says."""
    from performance import machines  # torch comes with it: too much for processes that are killed

    served = [number for number, state, _ in told["real"]["requests"] if state == "audited"]
    begun = [parent for _, parent, _ in told["real"]["models"][1:]]
    return [
        "| " + " | ".join(HEAD) + " |",
        "|---" * len(HEAD) + "|",
        *("| " + " | ".join(map(str, row)) + " |" for row in told["load"]),
        "",
        "Requests on digits through the same worker and the real pipeline, one after another on "
        f"one model: {len(served)} of {len(told['real']['requests'])} served, each by a model that "
        f"begins with the one before ({begun}). Their log: {told['real']['log']}.",
        "",
        *machines({"ledger": told}),
    ]


def main():
    """Print what happened; exit 1 if anything was lost.  In full it is written to the page too."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in FULL.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--real", action="store_true")
    asked = vars(parser.parse_args())
    import provenance
    from performance import machine, with_section

    only, real_ones = asked.pop("only"), asked.pop("real")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if only != "postgresql":
            url = str(folder / "ledger.sqlite")
            rows.append(load("SQLite", url, folder / "a", **asked))
        if only != "sqlite":
            from postgresql import started

            with started() as new:
                rows.append(load("PostgreSQL", new(), folder / "b", **asked))
        whole = all(row[1] == row[3] and not row[5] and "as written" in row[6] for row in rows)
        told = {"load": rows, "asked": asked, "machine": machine()}
        told["sources"] = provenance.of_files(DECIDE)
        if real_ones:
            told["real"] = real(folder)
            states = {state for _, state, _ in told["real"]["requests"]}
            whole = whole and states == {"audited"} and told["real"]["log"] == "as written"
    if real_ones and only is None and asked == FULL:
        EVIDENCE.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
        PAGE.write_text(with_section(PAGE.read_text(), SECTION, lines(told)))
    print(json.dumps(told, indent=1))
    sys.exit(not whole)


if __name__ == "__main__":
    main()

"""Which cases of faults there are: drawn by a seed over all moments and calls of a calm run."""

import random
import signal

import forks
import torment
from faults import WRITTEN
from torment import HOUR, STAGES

PURGING = 60  # moments of a purge, or more: one that is over before is halved
BEGIN_AND_END = [f"{what}-{stage}" for stage in STAGES for what in ("start", "end")]


def of_main(rows):
    """Return the moments of the thread that works."""
    return [row for row in rows if not row.others]


def boundaries(rows):
    """Return the numbers of the moments at which stages begin, end, and get their files.

    First beginnings and ends, then before and after each rename to a final name.
    """
    main = of_main(rows)
    edges = [row.number for row in main if row.what in BEGIN_AND_END]
    renames = [
        r.number for r in main if r.what == "did-rename" or (r.call or (0, ""))[1] == "rename"
    ]
    return edges + renames


def kills(rows, count, seconds, rng):
    """Draw cases of SIGKILL.

    All boundaries of stages first, as far as half of ``count`` goes; one of ten at a random moment
    of time; one of ten twice, and one of twenty three times; the others at one moment each, drawn
    evenly from all of them.
    """
    everywhere = [({"beat": r.number} if r.others else {"at": r.number}) for r in rows]
    edges = [{"at": number} for number in boundaries(rows)[: count * 6 // 10]]
    plans = [("boundary", [edge]) for edge in edges]
    plans += [("time", [{"after": rng.uniform(0, seconds)}]) for _ in range(count // 10)]
    again = len(of_main(rows))
    for n in range(count - len(plans)):
        happens = [rng.choice(everywhere)]
        times = 3 if n % 10 == 9 else 2 if n % 5 == 2 else 1
        first = happens[0].get("at", again // 2)
        happens += [{"at": rng.randint(1, again - first + 60)} for _ in range(times - 1)]
        plans.append(("drawn", happens))
    return [{"kind": "kill", "how": how, "happens": happens} for how, happens in plans]


def calls(rows):
    """Return number, kind and thread of every call that changes files."""
    return [
        (*row.call, "beat" if row.others else "at", row.stage, row.path) for row in rows if row.call
    ]


def faults(worker, alone, count, rng):
    """Draw cases of a call that fails: evenly over all calls, or all of them and all errors.

    Args:
        worker: the moments of a worker that is let be.
        alone: the moments of ``unsee run``.
        count: of cases; None: as many as there are calls, so that each fails once.
        rng: draws.

    """
    every = [(call, False) for call in calls(worker)] + [(call, True) for call in calls(alone)]
    pairs = [(call, way, one) for call, one in every for way in WRITTEN[call[1]]]
    count = len(every) if count is None else count
    if count < len(pairs):
        order = [
            [pair for pair in pairs if pair[0] is call and pair[2] is one] for call, one in every
        ]
        step, start = len(order) / count, rng.random()
        chosen = [order[int((n + start) * step) % len(order)] for n in range(count)]
        pairs = [rng.choice(ways) for ways in chosen]
    return [
        {
            "kind": "fault",
            "alone": one,
            "call": call[1],
            "stage": call[3],
            "path": call[4],
            "happens": [{"fails": call[0], "thread": call[2], "code": way[0], "how": way[1]}],
        }
        for call, way, one in pairs
    ]


def others(rows, count, rng):
    """Draw cases of what else can happen: signals, a second worker, clocks."""
    main = of_main(rows)
    inside = [row.number for row in main if row.stage in STAGES]
    whole = [row.number for row in main]
    plans = []
    for _ in range(count):
        term, stop = int(signal.SIGTERM), int(signal.SIGSTOP)
        one = {"at": rng.choice(whole)}
        plans += [
            {"kind": "term", "happens": [{"sent": term, "at": rng.choice(whole)}]},
            {"kind": "stall", "happens": [{"sent": stop, "at": rng.choice(inside)}]},
            {"kind": "two workers", "happens": [one]},
            {"kind": "clock", "happens": [{"clock": 2 * HOUR, "at": rng.choice(whole)}]},
            {"kind": "disk", "share": rng.uniform(0.1, 1.0)},
            {"kind": "purge", "happens": [{"at": rng.randint(1, PURGING)}]},
        ]
    return plans


def references(place, at_once):
    """Run both ways undisturbed, and return what came of them by name, and their moments."""
    cases = [
        (name, torment.undisturbed(place, name, alone=name == "alone"))
        for name in ("worker", "alone")
    ]
    return dict(forks.each(cases, at_once))


def planned(rows, *, count_kills, count_faults, count_others, seconds, seed):
    """Return all cases by name."""
    rng = random.Random(seed)
    plans = {
        "kill": kills(rows["worker"], count_kills, seconds, rng),
        "fault": faults(rows["worker"], rows["alone"], count_faults, rng),
        "other": others(rows["worker"], count_others, rng),
    }
    return {f"{kind}-{n:03d}": plan for kind, each in plans.items() for n, plan in enumerate(each)}

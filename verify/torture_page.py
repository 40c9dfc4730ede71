"""The tables of ``docs/reliability.md``, from the results of ``verify/torture.py``."""

import json
import sys
from collections import Counter
from pathlib import Path

import scipy.stats
from performance import machines, with_section

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from torment import ROWS  # noqa: E402  (of the folder of tests)

PAGE = ROOT / "docs" / "reliability.md"
EVIDENCE = ROOT / "docs" / "evidence" / "torture.json"
SECTION, EVERY = "torture", "torture every call"
SUMMARY = ROOT / "docs" / "evidence" / "torture_every.json"
NOT_YET = ["Not measured yet: `make torture`."]
FAULTS = {  # columns: error and manner, as in tests/faults.c
    (28, 0): "ENOSPC once",
    (5, 0): "EIO once",
    (28, 2): "cut short",
    (28, 1): "full from then on",
}
OTHERS = {
    "term": "SIGTERM at a moment of a calm run",
    "stall": "SIGSTOP while a stage works; it goes on when another has taken over",
    "two workers": "SIGKILL, while a second worker looks for work all the time",
    "clock": "SIGKILL, and the clock goes back by two hours for the next worker",
    "disk": "a real file system that is too small, at first",
    "purge": "SIGKILL at a moment of a purge of the closed request; then it is purged again",
}
LEAST = 5  # cases that a bin of the chi-square test should expect


def drawn(known):
    """Return the place, from 0 to 1, and the stage at which each drawn first kill came."""
    main = [moment for moment in known["moments"] if not moment[0]]
    beats = len(known["moments"]) - len(main)
    found = []
    for case in known["cases"].values():
        plan, hits = case["plan"], case["hits"]
        if plan["kind"] == "kill" and plan["how"] == "drawn" and hits[0] and case["codes"][0] < 0:
            late = len(main) if hits[0]["stage"] == "heartbeat" else 0
            place = (late + hits[0]["number"] - 0.5) / (len(main) + beats)
            found.append((min(place, 1.0), hits[0]["stage"]))
    return found


def shares(known):
    """Return which share of all moments lies in each stage."""
    count = Counter("heartbeat" if moment[0] else moment[1] for moment in known["moments"])
    return {row: count[row] / len(known["moments"]) for row in ROWS}


def chi_square(observed, expected):
    """Return the p value of counts, where bins that expect too few are one; None: too few."""
    small = [n for n in expected if expected[n] < LEAST]
    bins = [(observed[n], expected[n]) for n in expected if n not in small]
    rest = sum(observed[n] for n in small), sum(expected[n] for n in small)
    if rest[1] >= LEAST:
        bins.append(rest)
    elif rest[1] and bins:
        least = min(range(len(bins)), key=lambda n: bins[n][1])
        bins[least] = (bins[least][0] + rest[0], bins[least][1] + rest[1])
    if len(bins) < 2:
        return None
    return float(scipy.stats.chisquare(*zip(*bins, strict=True)).pvalue)


def missed(known):
    """Return the boundaries of stages at which no worker was killed."""
    main = {n: m for n, m in enumerate((m for m in known["moments"] if not m[0]), 1)}
    hit = {
        (found["stage"], _kind(found["what"]), found["path"])
        for case in known["cases"].values()
        for found, code in zip(case["hits"], case["codes"], strict=False)
        if found and code == -9
    }
    wanted = [main[number] for number in known["boundaries"]]
    return [m[1:] for m in wanted if (m[1], _kind(m[2]), m[3]) not in hit]


def _kind(what):
    return what.rpartition("-")[2] + " next" if what.startswith("call-") else what


def survived(cases):
    """Return how many of some cases lost nothing."""
    if not cases:
        return ""
    return f"{sum(not case['wrong'] for case in cases)} of {len(cases)}"


def _kills(known):
    """Return the rows of the table of kills: stage by how the moment came about."""
    found = {row: {how: [] for how in ("boundary", "drawn", "time", "again")} for row in ROWS}
    for case in known["cases"].values():
        if case["plan"]["kind"] != "kill":
            continue
        for turn, (hit, code) in enumerate(zip(case["hits"], case["codes"], strict=False)):
            if hit and code == -9:
                how = case["plan"]["how"] if turn == 0 else "again"
                found[hit["stage"]][how].append(case)
    rows = ["| stage | at a boundary | drawn | at a random time | of a later worker |"]
    rows += ["|---|---|---|---|---|"]
    for row, each in found.items():
        rows.append(f"| {row} | {' | '.join(survived(cases) for cases in each.values())} |")
    everything = [survived([c for r in found.values() for c in r[how]]) for how in found["begin"]]
    return [*rows, f"| **all** | {' | '.join(everything)} |"]


def _faults(known):
    found = {row: {way: [] for way in FAULTS} for row in ROWS}
    told = Counter()
    for case in known["cases"].values():
        plan = case["plan"]
        if plan["kind"] == "fault":
            happens = plan["happens"][0]
            found[plan["stage"]][happens["code"], happens["how"]].append(case)
            told[case["codes"][0]] += 1
    rows = [f"| stage | {' | '.join(FAULTS.values())} |", "|---|" + "---|" * len(FAULTS)]
    for row, each in found.items():
        rows.append(f"| {row} | {' | '.join(survived(cases) for cases in each.values())} |")
    everything = [survived([c for r in found.values() for c in r[way]]) for way in FAULTS]
    rows += [f"| **all** | {' | '.join(everything)} |", ""]
    rows += [
        f"What the process said: exit code 5 in {told[5]} cases; in {told[75]} it went on, and the "
        "ledger says that the request has failed, or another worker took it over; in "
        f"{told[0]} it got over it (a write that is cut short is gone on with; a sign of life is "
        "given again; a file that could not be deleted is deleted later)."
    ]
    return rows


def _others(known):
    rows = ["| what happens | survived |", "|---|---|"]
    for kind, words in OTHERS.items():
        cases = [c for c in known["cases"].values() if c["plan"]["kind"] == kind]
        waits = [s for case in cases for s in case["waited"] if s is not None]
        slowest = f"; ended after at most {max(waits):.1f} s" if waits else ""
        skipped = f"; {sum('skipped' in case for case in cases)} skipped"
        cases = [case for case in cases if "skipped" not in case]
        words += slowest + ("" if skipped.startswith("; 0") else skipped)
        rows.append(f"| {words} | {survived(cases)} |")
    return rows


def _histogram(known):
    found, share = drawn(known), shares(known)
    count = Counter(stage for _, stage in found)
    rows = ["```", f"{'stage':10} {'moments':>8} {'expected':>9} {'killed':>7}"]
    for row in ROWS:
        bar = "#" * count[row]
        moments = round(share[row] * len(known["moments"]))
        rows.append(f"{row:10} {moments:8} {share[row] * len(found):9.1f} {count[row]:7} {bar}")
    tenths = Counter(min(int(place * 10), 9) for place, _ in found)
    rows += ["", "tenth of all moments"]
    rows += [f"{n + 1:10} {'':8} {len(found) / 10:9.1f} {tenths[n]:7} {'#' * tenths[n]}"
             for n in range(10)]  # fmt: skip
    by_stage = chi_square(count, {row: share[row] * len(found) for row in ROWS})
    by_tenth = chi_square(tenths, dict.fromkeys(range(10), len(found) / 10))
    line = scipy.stats.kstest([place for place, _ in found], "uniform").pvalue if found else None
    told = ", ".join(
        f"{name} p = {'too few' if p is None else f'{p:.2f}'}"
        for name, p in (
            ("chi-square over stages", by_stage),
            ("over tenths", by_tenth),
            ("Kolmogorov-Smirnov", line),
        )
    )
    return [*rows, "```", "", f"That the drawn moments are uniform: {told}."]


def lines(known):
    """Return what the page says."""
    if not known:
        return NOT_YET
    cases, asked = known["cases"], known["asked"]
    main = sum(not moment[0] for moment in known["moments"])
    beats, gaps = len(known["moments"]) - main, missed(known)
    kinds = Counter(case["plan"]["kind"] for case in cases.values())
    lost = sorted(name for name, case in cases.items() if case["wrong"])
    edges = len(known["boundaries"])
    rest = len(cases) - kinds["kill"] - kinds["fault"]
    return [
        f"`make torture`, seed {asked['seed']}: {kinds['kill']} cases of SIGKILL, "
        f"{kinds['fault']} of failing calls and {rest} others in {known['wall'] / 60:.0f} minutes; "
        f"**{len(lost)} lost**"
        f"{': ' + ', '.join(lost) if lost else ''}.",
        f"A calm run takes {known['seconds']['worker']:.1f} s and has {main} moments and "
        f"{known['calls']['worker']} calls that change files, {beats} moments more in the thread "
        f"of the heartbeat; `unsee run` alone has {known['calls']['alone']} calls. Of {edges} "
        f"boundaries of stages, {edges - len(gaps)} were hit at least once.",
        *machines({"run": known}),
        "",
        "Killed, by the stage in which it happened:",
        "",
        *_kills(known),
        "",
        "Calls that failed, by the stage in which they were:",
        "",
        *_faults(known),
        "",
        "What else happened:",
        "",
        *_others(known),
        "",
        "Where the drawn kills came (first ones of a case, boundaries not among them):",
        "",
        *_histogram(known),
    ]


def summary(known):
    """Write down what happened where every call has failed once, and return it."""
    told = {
        "sources": known["sources"],
        "machine": known["machine"],
        "calls": known["calls"],
        "cases": len(known["cases"]),
        "planned": len(known["plans"]),
        "wall": known["wall"],
        "lost": sorted(name for name, case in known["cases"].items() if case["wrong"]),
        "table": _faults(known),
    }
    SUMMARY.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    return told


def every(told):
    """Return what the page says of all calls."""
    if not told:
        return ["Not measured yet: `python verify/torture.py --every`."]
    return [
        f"`python verify/torture.py --every`: each of the {told['calls']['worker']} calls of the "
        f"worker and the {told['calls']['alone']} of `unsee run`, failing once, in a way drawn: "
        f"{told['cases']:,} cases in {told['wall'] / 60:.0f} minutes; **{len(told['lost'])} lost**"
        f"{': ' + ', '.join(told['lost']) if told['lost'] else ''}.",
        *machines({"run": told}),
        "",
        *told["table"],
    ]


def publish(told, section=SECTION):
    """Write a section of the page anew."""
    PAGE.write_text(with_section(PAGE.read_text(), section, told))


def results():
    """Return the committed results; nothing where there are none yet."""
    return json.loads(EVIDENCE.read_text()) if EVIDENCE.exists() else {}

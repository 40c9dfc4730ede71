"""Kill the real pipeline and let its writes fail, hundreds of times: ``make torture``.

A case is a real erasure request in an SQLite ledger, served by the real worker, to which something
happens: SIGKILL at one of all moments of a calm run, or a system call that fails.  Afterwards the
request has to be completed once, with the models of the calm run, bit for bit.  Results go to
``docs/evidence/torture.json`` case by case, so that a stopped script goes on where it was;
``docs/reliability.md`` quotes them between two marks.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import faults  # noqa: E402  (of the folder of tests)

EVIDENCE = ROOT / "docs" / "evidence" / "torture.json"
EVERY = {"kills": 0, "faults": None, "others": 0}  # of --every: each call fails once
CASES = ROOT / "runs" / "verify" / "torture-every.json"  # the page has their summary
DECIDE = (  # what a fault can bring down: files of src/unsee, and what torments them
    *("cli/_certificate.py", "cli/_guard.py", "cli/_run.py", "cli/_worker.py", "errors.py"),
    *("events.py", "folder.py", "locking.py", "ownership.py"),
    *("pipeline.py", "certificate", "ledger"),
)
TOOLS = ("faults.c", "faults.py", "forks.py", "ordeals.py", "torment.py")


def sources():
    """Return a digest of the code that decides the results."""
    import provenance

    total = provenance.hashed(DECIDE)
    for name in TOOLS:
        text = (ROOT / "tests" / name).read_text()
        total.update((provenance.code(text) if name.endswith(".py") else text).encode())
    return total.hexdigest()


def warmed():
    """Import all that a case needs, so that its process begins with it; start no thread."""
    import matplotlib.pyplot
    import scipy.stats
    import sklearn.datasets
    import sqlalchemy.dialects.sqlite
    import torch
    import torchvision

    import unsee.certificate
    import unsee.cli
    import unsee.ledger
    import unsee.ledger._upgrade
    import unsee.pipeline  # noqa: F401  (all of unsee is one name)

    torch.set_num_threads(1)
    unsee.cli.get_command = functools.cache(unsee.cli.get_command)  # a seventh of a case
    unsee.cli.get_command(unsee.cli.app)
    alone()
    return matplotlib.pyplot, scipy.stats, sklearn.datasets, sqlalchemy.dialects, torchvision


def alone():
    """Raise SystemExit if this process has several threads: forks of such a one may hang."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if len(names) != 1:
        raise SystemExit(f"Expected one thread to fork from, got {names}")


def import_alike(file):
    """Import what a calm run has imported in the end, so that no other has to do so again."""
    for name in file.read_text().split():
        if name not in sys.modules:
            with contextlib.suppress(ImportError):  # a module under a name of its own making
                importlib.import_module(name)
    alone()
    gc.collect()
    gc.freeze()  # what nobody touches need not be copied for each child


def asked():
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = {"kills": 200, "faults": 200, "others": 10, "epochs": 3, "seed": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--audits", default="accuracy,membership", help="of the run: fewer, faster")
    parser.add_argument("--at-once", type=int, default=2, help="processes side by side")
    parser.add_argument("--results", type=Path, default=EVIDENCE, help="another file: no page")
    parser.add_argument("--every", action="store_true", help="let each call fail, once")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    words = parser.parse_args()
    if words.every:
        vars(words).update(EVERY, results=CASES)
    return words


def done_before(file, digest, words):
    """Return the results that are there, if they are of these sources and of this question."""
    known = json.loads(file.read_text()) if file.exists() else {}
    same = known.get("sources") == digest and known.get("asked") == words
    return known if same else {}


def begun(place, words, digest):
    """Set up all cases: run undisturbed, and draw."""
    import ordeals
    from performance import machine

    found = ordeals.references(place, 2)
    rows = {name: rows for name, (_, rows) in found.items()}
    seconds = found["worker"][0]["seconds"]
    edges = {*ordeals.boundaries(rows["worker"])}
    return {
        "sources": digest,
        "asked": words,
        "machine": machine(),
        "seconds": {name: facts.pop("seconds") for name, (facts, _) in found.items()},
        "reference": {name: facts for name, (facts, _) in found.items()},
        "moments": [[int(r.others), r.stage, r.what, r.path] for r in rows["worker"]],
        "boundaries": sorted(edges),
        "calls": {name: len(ordeals.calls(each)) for name, each in rows.items()},
        "plans": ordeals.planned(
            rows,
            count_kills=words["kills"],
            count_faults=words["faults"],
            count_others=words["others"],
            seconds=seconds,
            seed=words["seed"],
        ),
        "cases": {},
        "wall": 0.0,
    }


def write(file, known):
    """Write the results."""
    from unsee.folder import write as whole

    whole(file, (json.dumps(known, indent=None, sort_keys=True) + "\n").encode())


def measured(words, file, at_once, folder):
    """Do the cases that are not done yet, and return all results."""
    import forks
    import torment

    digest = sources()
    known = done_before(file, digest, words)
    torment.ASKED, torment.TRAINED = tuple(words["audits"].split(",")), words["epochs"]
    place = torment.Place(folder)
    (place.path / "said").touch()
    first = [lambda: torment.set_up(place.path), lambda: torment.rehearse(place)]
    first = [forks.Child(work, place.path / "said") for work in first]
    list(forks.each([("set up", (child for child in first))], 1))
    if not (place.path / "modules").exists():
        raise SystemExit((place.path / "said").read_text())
    import_alike(place.path / "modules")
    if not known:
        known = begun(place, words, digest)
        write(file, known)
    start, before = time.monotonic(), known["wall"]
    left = {name: plan for name, plan in known["plans"].items() if name not in known["cases"]}
    cases = (
        (name, torment.case(place, name, _reference(known, plan), plan))
        for name, plan in left.items()
    )
    for name, result in forks.each(cases, at_once):
        known["cases"][name] = result
        known["wall"] = round(before + time.monotonic() - start, 1)
        write(file, known)
        state = "; ".join(result["wrong"]) or "survived"
        print(f"{len(known['cases'])} of {len(known['plans'])}: {name}: {state}", file=sys.stderr)
    return known


def _reference(known, plan):
    return known["reference"]["alone" if plan.get("alone") else "worker"]


def main():
    """Write results and page; exit 1 if anything was lost."""
    words = vars(asked())
    file, at_once, page = words.pop("results"), words.pop("at_once"), words.pop("page")
    every = words.pop("every")
    if why := faults.why_not():
        raise SystemExit(why)
    if not page and os.environ.get("LD_PRELOAD") != str(faults.library()):
        os.execve(sys.executable, [sys.executable, *sys.argv], faults.environment())
    if page:
        known = json.loads(file.read_text())
    else:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warmed()
        with tempfile.TemporaryDirectory(prefix="unsee-torture-") as folder:
            known = measured(words, file, at_once, Path(folder))
    import torture_page

    if every:
        lines = torture_page.every(torture_page.summary(known))
    else:
        lines = torture_page.lines(known)
    if file in (EVIDENCE, CASES):
        torture_page.publish(lines, torture_page.EVERY if every else torture_page.SECTION)
    print("\n".join(lines))
    sys.exit(any(case["wrong"] for case in known["cases"].values()))


if __name__ == "__main__":
    main()

"""Cases of faults in the real pipeline: what a case does, and what has to hold after it.

A case has a folder of its own with a ledger in which one approved request waits.  Workers on the
command line's own path (``unsee worker --once``) serve it, certify its run and close it; something
happens to the first of them, or to several; a last one finishes.
"""

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

from faults import Process, moments
from forks import Child, Continue

LEASE = 0.6  # seconds: a worker is alone in its case, so nobody takes it over while it lives
LATER, MOST = 75, 8  # the exit code of a worker that has left something to do; how often to go on
ALLOWED = {0, 5, LATER}  # the documented exit codes where a disk fails
TOLD = ("StorageError", "OSError")  # what the ledger says then
STAGES = ("train", "unlearn", "retrain", "audit", "arrays", "report")
ROWS = ("begin", *STAGES, "finish", "certify", "close", "heartbeat")  # where moments lie
MADE = ("original.safetensors", "model.safetensors", "retrained.safetensors")
HOUR = 3600


def set_up(place):
    """Write 400 digits, and a ledger with a request to forget 20 of them."""
    import numpy as np
    from sklearn.datasets import load_digits

    from unsee.certificate import new_key
    from unsee.ledger import Ledger

    new_key(place / KEY)
    found = load_digits()
    images = (found.images * 15).astype(np.uint8)
    parts = {"train": slice(300), "test": slice(300, 400)}
    arrays = {f"{part}_images": images[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": found.target[rows] for part, rows in parts.items()}
    np.savez(place / "digits.npz", **arrays, classes=np.array([str(n) for n in range(10)]))
    ids = [f"train/{n:05d}" for n in range(20)]
    (place / "forget.txt").write_text("".join(f"{name}\n" for name in ids))
    (place / "ledger").mkdir()
    with Ledger(str(place / "ledger" / "ledger.sqlite")) as ledger:
        number = ledger.add("case-1", config(place), ids=ids, by="ana")
        ledger.approve(number, by="ben")
    return 0


def rehearse(place):
    """Serve the request once, and write down which modules that takes."""
    root = place.fresh("rehearsal")
    code = serve(root, Process())
    (place.path / "modules").write_text("\n".join(sorted(sys.modules)))
    shutil.rmtree(root)
    return code


def config(place):
    """Return what a request asks for."""
    from unsee.nouns import Config

    return Config(
        data=f"npz:{place / 'digits.npz'}",
        arch="convnet",
        method="snu",
        train_epochs=TRAINED,
        oracle="retrain",
        guard=1.0,
        device="cpu",
        audits=ASKED,
    )


TRAINED, KEY = 3, "key.pem"
ASKED = ("accuracy", "membership")


class Place:
    """Where all cases of one host lie."""

    def __init__(self, path):
        self.path = path.resolve()

    def fresh(self, name):
        """Return a new folder for a case, with the ledger as it was set up."""
        root = self.path / name
        shutil.copytree(self.path / "ledger", root)
        return root

    def beside(self, name, what):
        """Return a file of a case outside of its folder."""
        return self.path / f"{name}.{what}"


# What a process does.


def watched(place, name, turn, work, plan):
    """Return a function that lets ``work`` run while something goes wrong."""

    def run():
        from unsee import events
        from unsee.cli import listen_for_signals

        root = place.path / name
        problems = whole(root)
        listen_for_signals()
        signal.signal(signal.SIGTERM, _timed(place.beside(name, f"{turn}.term")))
        process, at = Process(), events.Pace.at

        def step(self, done, images):
            process.moment("step")
            self.told = -1.0  # told at each step, so that moments are the same in each run
            at(self, done, images)

        def told(event):
            if event.event == "start" and event.stage in STAGES:
                process.stage(event.stage)
            names = {"start": "start", "end": "end", "progress": "progress", "error": "error"}
            if event.event in names and event.stage in STAGES:
                process.moment(f"{names[event.event]}-{event.stage}")
            if event.event == "end" and event.stage == STAGES[-1]:
                process.stage("finish")

        process.clock(plan.get("clock", 0))
        if "fails" in plan:
            which = {plan["thread"]: plan["fails"]}
            process.fail(plan["code"], plan["how"], **which)
        process.watch(
            root,
            place.beside(name, f"{turn}.trace"),
            sent=plan.get("sent", signal.SIGKILL),
            at=plan.get("at", 0),
            beat=plan.get("beat", 0),
        )
        events.Pace.at = step
        with events.listening(told):
            code = work(root, process)
        note(place.beside(name, "problems"), problems)
        return code

    return run


def _timed(file):
    """Return the handler of SIGTERM that there is, and note when it is called."""
    handler = signal.getsignal(signal.SIGTERM)

    def handle(*arguments):
        file.write_text(str(time.monotonic()))
        handler(*arguments)

    return handle


def note(file, problems):
    """Add lines to a file."""
    with file.open("a") as log:
        log.writelines(f"{problem}\n" for problem in problems)


def serve(root, process):
    """Do what a worker does, then what a person does who certifies the run, then closes."""
    from unsee.cli import call
    from unsee.cli._guard import guarded
    from unsee.ledger import CHECKLIST, CLOSED, Ledger

    url, jobs = str(root / "ledger.sqlite"), str(root / "jobs")
    often = ("--lease", str(LEASE), "--poll", "0.02", "--once", "--quiet")
    code = call("worker", "--ledger", url, "--folder", jobs, *often)
    if code:
        return code
    process.stage("certify")

    def certify():
        run = uncertified(url, root / "jobs")
        by = ("--key", str(root.parent / KEY), "--ledger", url, "--as", "ben")
        return call("certify", str(run), *by) if run else 0

    if code := guarded(certify):
        return code
    process.stage("close")

    def close():
        with Ledger(url, create=False) as ledger:
            found = ledger.show(1)
            if found.state == "audited":
                red = {"partly": True, "why": "the audit is red"} if found.light == "red" else {}
                ledger.close(1, by="ben", done=[*CHECKLIST], **red)
            return 0 if ledger.show(1).state in CLOSED else LATER

    return guarded(close)


def uncertified(url, jobs):
    """Return the folder of an audited request's run that has no certificate yet."""
    from unsee.ledger import RUN, Ledger, place_of

    with Ledger(url, create=False) as ledger:
        found = ledger.show(1)
    if found.state != "audited":
        return None
    run = jobs / place_of(found.job) / RUN
    return None if (run / "certificate.json").exists() else run


def purge(root, process):
    """Purge the closed request, as often as it takes."""
    from unsee.cli import call

    process.stage("purge")
    return call("purge", "1", "--ledger", str(root / "ledger.sqlite"), "--as", "ben")


def serve_until_done(root, process):
    """Look for work again and again, as a second worker beside the first does."""
    end = time.monotonic() + 60
    while (code := serve(root, process)) in (4, LATER) and time.monotonic() < end:
        time.sleep(0.05)
    return code


def approve_and_serve(root, process):
    """Let a request that has failed be tried again, as a person would, and serve it."""
    from unsee.ledger import Ledger

    with Ledger(str(root / "ledger.sqlite"), create=False) as ledger:
        if ledger.show(1).state == "failed":
            why = ledger.entries(1)[-1].why
            if why not in TOLD:
                note(root.with_name(f"{root.name}.problems"), [f"it failed because of {why}"])
            ledger.approve(1, by="ben", why="there is room again")
    return serve(root, process)


def run_alone(root, process):
    """Run the command line's ``unsee run``, or go on with what there is."""
    from unsee.cli import call

    out = root / "run"
    if (out / "config.json").exists():
        return call("run", "--resume", str(out), "--quiet")
    asked = config(root.parent)
    ids = root.parent / "forget.txt"
    words = [f"--{k.replace('_', '-')}={getattr(asked, k)}" for k in WORDS]
    words += [f"--audits={','.join(asked.audits)}"] if asked.audits else []
    return call("run", *words, f"--forget=ids={ids}", f"--out={out}", "--quiet")


WORDS = ("data", "arch", "method", "train_epochs", "oracle", "guard", "device")


def on_small_disk(place, name, reference, share):
    """Return a function that serves on a disk with too little room, then on one with enough.

    The disk is a file system in memory that only this process and its children see; where the
    system allows none, the exit code is SKIPPED.
    """

    def run():
        root, libc = place.path / name, ctypes.CDLL(None, use_errno=True)
        root.mkdir()
        ids = f"0 {os.getuid()} 1", f"0 {os.getgid()} 1"
        if libc.unshare(NEW_USER | NEW_MOUNTS):
            return SKIPPED
        for file, line in (("setgroups", "deny"), ("uid_map", ids[0]), ("gid_map", ids[1])):
            Path(f"/proc/self/{file}").write_text(line)

        def mounted(flags, size):
            words = [os.fsencode(word) for word in ("tmpfs", root, "tmpfs")]
            return libc.mount(*words, ctypes.c_ulong(flags), f"size={size}".encode()) == 0

        if not mounted(0, int(share * reference["bytes"])):
            return SKIPPED
        for file in (place.path / "ledger").iterdir():
            shutil.copy(file, root)
        process = Process()
        code = serve(root, process)
        problems = whole(root)
        if code not in ALLOWED:
            problems.append(f"exit code {code} where the disk is full")
        if not mounted(REMOUNT, 2 * reference["bytes"]):
            return SKIPPED
        time.sleep(LEASE + 0.1)
        last = approve_and_serve(root, process)
        problems += [] if last == 0 else [f"exit code {last} where there is room"]
        note(place.beside(name, "problems"), problems)
        check(place, name, reference)()
        return code

    return run


NEW_USER, NEW_MOUNTS, REMOUNT = 0x10000000, 0x00020000, 0x20  # linux/sched.h, linux/mount.h
SKIPPED = 77


# What has to hold.


def whole(root):
    """Say which files bear a final name and are not whole: at every moment, there is none."""
    return [
        f"half written: {path.relative_to(root)}: {why}"
        for path in sorted(root.rglob("*"))
        if path.is_file() and (why := _lacking(path))
    ]


def _lacking(path):
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as found:
                [found[name] for name in found]
        elif path.suffix == ".safetensors":
            with safe_open(path, "np") as found:
                [found.get_tensor(name) for name in found.keys()]  # noqa: SIM118
        elif path.suffix in (".html", ".svg"):
            end = f"</{path.suffix[1:]}>"
            return "" if path.read_text().rstrip().endswith(end) else f"does not end with {end}"
        elif path.name == "events.jsonl":
            [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    except (ValueError, OSError, SafetensorError, zipfile.BadZipFile) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def digest(path):
    """Return the SHA-256 of a file; nothing where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def facts(run):
    """Return what a run's numbers and models are, whenever and however often it was begun."""
    measured = json.loads((run / "audit.json").read_text())["models"]
    told = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()
    return {name: digest(run / name) for name in MADE} | {"measurements": told}


def of_run(run, reference):
    """Say what is wrong with a finished run folder."""
    known = json.loads((run / "stages.json").read_text())
    files = dict(zip(STAGES, (*MADE, "audit.json", "arrays.npz", "report.html"), strict=True))
    wrong = [f"stages.json lacks {name}" for name in STAGES if name not in known]
    for name, entry in known.items():
        if digest(run / files[name]) != entry["sha256"]:
            wrong.append(f"{files[name]} is not what stages.json says")
    if reference:
        found = facts(run)
        wrong += [f"another {k} than undisturbed" for k in found if found[k] != reference[k]]
    return wrong


def of_ledger(root, reference):
    """Say what is wrong with a ledger in which the one request has been completed."""
    from unsee.cli import call
    from unsee.ledger import Ledger

    url = str(root / "ledger.sqlite")
    wrong = [] if call("ledger", "verify", "--ledger", url) == 0 else ["ledger verify fails"]
    with Ledger(url, create=False) as ledger:
        if bad := ledger.verify().why:
            wrong.append(f"the log: a row {bad}")
        rows, models = Counter(row.what for row in ledger.entries(1)), ledger.models()
        state = ledger.show(1).state
        if (rows["audited"], rows["completed"] + rows["partly_completed"]) != (1, 1):
            wrong.append(f"not audited and completed once: {dict(rows)}")
        signed = [json.loads(x.details) for x in ledger.entries(1) if x.what == "certified"]
        wrong += [] if signed else ["no row says that it was certified"]
        if state not in ("completed", "partly_completed"):
            wrong.append(f"the request is {state}")
    if [model.state for model in models] != ["superseded", "in use"]:
        return [*wrong, f"the models are {[model.state for model in models]}"]
    for model, name in zip(models, MADE, strict=False):
        if digest(model.path) != model.sha256:
            wrong.append(f"{name} is not the one that the ledger names")
        if reference and model.sha256 != reference[name]:
            wrong.append(f"the ledger names another {name} than undisturbed")
    runs = [model.path.parent for model in models]
    wrong += of_certificate(runs[1], [each["certificate"] for each in signed], root.parent / KEY)
    return wrong + of_run(runs[1], reference) + _same_run(runs)


def _same_run(runs):
    return [] if runs[0] == runs[1] else ["original and unlearned model are of two runs"]


def of_certificate(run, rows, key):
    """Say what is wrong with a certificate: it has to verify, and to be the one of its row."""
    from unsee.certificate import verify
    from unsee.errors import UnseeError

    file = run / "certificate.json"
    try:
        verify(file, key=key.with_suffix(".pub.pem"), model=run / MADE[1])
    except UnseeError as error:
        return [f"the certificate does not verify: {error}"]
    return [] if digest(file) in rows else ["no row of the ledger names the certificate"]


def of_purge(root, reference):
    """Say what is wrong with a ledger and a folder in which the one request has been purged."""
    from unsee.ledger import Ledger

    with Ledger(str(root / "ledger.sqlite"), create=False) as ledger:
        bad, models = ledger.verify().why, ledger.models()
        rows = Counter(row.what for row in ledger.entries(1))
    wrong = [f"the log: a row {bad}"] if bad else []
    wrong += [] if rows["purged"] else ["the log has no purge"]
    if [model.state for model in models] != ["retired", "in use"]:
        wrong.append(f"the models are {[model.state for model in models]}")
    wrong += [] if digest(models[1].path) == reference[MADE[1]] else ["the model in use is another"]
    run = models[1].path.parent
    left = [name for name in (MADE[0], "arrays.npz", "config.json") if (run / name).exists()]
    wrong += [f"a purge left {name}" for name in left]
    ids = (root.parent / "forget.txt").read_bytes().split()
    found = {path for path in root.rglob("*") if path.is_file()}
    holding = [path for path in found if any(name in path.read_bytes() for name in ids)]
    return wrong + [f"ids are in {path.relative_to(root)}" for path in holding]


def check(place, name, reference, *, alone=False, purged=False):
    """Return a function that writes down what is wrong in the end."""

    def run():
        root = place.path / name
        problems = whole(root)
        left = [*root.rglob("*.part"), *root.rglob("forget*"), *root.rglob("earlier*")]
        problems += [f"left over: {path.relative_to(root)}" for path in left]
        try:
            of = of_purge if purged else of_ledger
            wrong = of_run(root / "run", reference) if alone else of(root, reference)
        except Exception as error:
            traceback.print_exc()
            wrong = [f"cannot be checked: {type(error).__name__}: {error}"]
        note(place.beside(name, "problems"), problems + wrong)
        return 0

    return run


# What happens in a case.


def undisturbed(place, name, alone=False):
    """Let a case be, and return what it has to come to, and its moments."""
    root = place.path / name if alone else place.fresh(name)
    root.mkdir(exist_ok=True)
    work = run_alone if alone else serve
    said = place.beside(name, "said")
    ended = yield Child(watched(place, name, 0, work, {}), said)
    yield Child(check(place, name, None, alone=alone), said)
    problems = place.beside(name, "problems").read_text().splitlines()
    if ended.code or problems:
        sys.exit(f"{name}: exit code {ended.code}, {problems}\n{said.read_text()}")
    run = root / "run" if alone else root / "jobs" / "job-00001" / "run"
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    found = {**facts(run), "bytes": size, "seconds": ended.seconds}
    rows = moments(place.beside(name, "0.trace"))
    _tidy(place, name)
    return found, rows


def too_small(place, name, reference, plan):
    """Let the disk be too small for a case, and return what came of it."""
    said, file = place.beside(name, "said"), place.beside(name, "problems")
    ended = yield Child(on_small_disk(place, name, reference, plan["share"]), said)
    found = {"plan": plan, "hits": [], "codes": [ended.code], "waited": [], "wrong": []}
    if ended.code == SKIPPED:
        return found | {"skipped": "this system gives a process no file system of its own"}
    found["wrong"] = file.read_text().splitlines() if file.exists() else ["nothing was checked"]
    if found["wrong"]:
        found["said"] = said.read_text()[-4000:]
    return found


def case(place, name, reference, plan):
    """Let something happen to a case, and return what came of it.

    Where something was to come at a time, or at a sign of life, that a faster run does not get to,
    it is tried again at half of that.
    """
    happen = interrupted if plan["kind"] == "purge" else disturbed
    while True:
        found = yield from happen(place, name, reference, plan)
        if found.get("struck", True) or found["wrong"]:
            return found
        first, *rest = plan["happens"]
        halved = dict(first)
        for what in {"after", "at", "beat", "fails"} & first.keys():
            halved[what] = first[what] / 2 if what == "after" else (first[what] + 1) // 2
        plan = plan | {"happens": [halved, *rest]}


def disturbed(place, name, reference, plan):
    """Let something happen to a case once, and return what came of it."""
    if plan["kind"] == "disk":
        return (yield from too_small(place, name, reference, plan))
    alone, kind = plan.get("alone", False), plan["kind"]
    root = place.path / name if alone else place.fresh(name)
    root.mkdir(exist_ok=True)
    said, work = place.beside(name, "said"), run_alone if alone else serve
    mend = run_alone if alone else approve_and_serve
    codes, hits, waited, wrong, left, struck = [], [], [], [], None, True
    for turn, happens in enumerate(plan["happens"]):
        own = Child(watched(place, name, turn, work, happens), said, happens.get("after"))
        if kind == "two workers":
            other = watched(place, name, "beside", serve_until_done, {})
            ended, second = yield [own, Child(other, said)]
            codes.append(second.code)
        else:
            ended = yield own
        hits.append(_hit(place, name, turn))
        codes.append(ended.code)
        if ended.hung:
            wrong.append("a process hung")
        if ended.stopped:
            left = ended.pid
        if kind == "term" and ended.code != 0:
            slow, why = _stopped(ended, place.beside(name, f"{turn}.term"))
            waited.append(slow)
            wrong += why
        if ended.code == 0:
            break
        if kind == "fault":
            struck = _struck(place.beside(name, f"{turn}.trace"), happens)
            wrong += _told(ended.code, said.read_text())
        if not alone:
            yield LEASE + 0.1
    for turn in range(MOST):
        if codes[-1] == 0 and left is None:
            break
        ended = yield Child(watched(place, name, f"m{turn}", mend, {}), said)
        codes.append(ended.code)
        if left is not None:
            late = yield Continue(left)
            codes.append(late.code)
            left = None
            wrong += [] if late.code in ALLOWED else [f"the late worker ended with {late.code}"]
        if codes[-1] != 0:
            yield LEASE + 0.1
    if codes[-1] not in (0, LATER):
        wrong.append(f"the last worker ended with {codes[-1]}")
    yield Child(check(place, name, reference, alone=alone), said)
    file = place.beside(name, "problems")
    wrong += file.read_text().splitlines() if file.exists() else ["nothing was checked"]
    found = {"plan": plan, "hits": hits, "codes": codes, "waited": waited, "wrong": wrong}
    found["struck"] = struck and (kind != "kill" or codes[0] < 0)
    if wrong:
        found["said"] = said.read_text()[-4000:]
    else:
        _tidy(place, name)
    return found


def interrupted(place, name, reference, plan):
    """Kill a purge, purge again, and return what came of it."""
    said, (happens,) = place.beside(name, "said"), plan["happens"]
    place.fresh(name)
    calm = yield Child(watched(place, name, "calm", serve, {}), said)
    ended = yield Child(watched(place, name, 0, purge, happens), said)
    codes = [calm.code, ended.code]
    if ended.code:
        last = yield Child(watched(place, name, "m0", purge, {}), said)
        codes.append(last.code)
    yield Child(check(place, name, reference, purged=True), said)
    file = place.beside(name, "problems")
    wrong = file.read_text().splitlines() if file.exists() else ["nothing was checked"]
    wrong += [] if codes[-1] == 0 else [f"the last purge ended with {codes[-1]}"]
    found = {"plan": plan, "hits": [_hit(place, name, 0)], "codes": codes, "waited": []}
    found |= {"wrong": wrong, "struck": ended.code < 0}
    if wrong:
        found["said"] = said.read_text()[-4000:]
    else:
        _tidy(place, name)
    return found


def _hit(place, name, turn):
    """Return stage and number of the last moment of a process, and what was at hand."""
    file = place.beside(name, f"{turn}.trace")
    rows = moments(file) if file.exists() else []
    if not rows:
        return None
    row = rows[-1]
    return {"stage": row.stage, "number": row.number, "what": row.what, "path": row.path}


def _struck(trace, happens):
    """Tell whether a process has come to the call that was to fail."""
    rows = [row for row in moments(trace) if row.others == (happens["thread"] == "beat")]
    return happens["fails"] in [row.call[0] for row in rows if row.call]


def _told(code, said):
    """Say what is wrong with how a process has told of a disk that fails."""
    wrong = [] if code in ALLOWED else [f"exit code {code} where the disk fails"]
    if code == 5 and "unsee: Expected" not in said:
        wrong.append("exit code 5 without a word")
    return wrong + (["a traceback is shown"] if "Traceback" in said else [])


def _stopped(ended, file):
    """Return how long a process took to end that was asked to, in seconds, and what is wrong."""
    if not file.exists():
        return None, [f"exit code {ended.code} before SIGTERM came"]
    seconds = ended.at - float(file.read_text())
    wrong = [] if ended.code == 143 else [f"exit code {ended.code} after SIGTERM"]
    return seconds, wrong + ([f"{seconds:.1f} s after SIGTERM"] if seconds > 10 else [])


def _tidy(place, name):
    shutil.rmtree(place.path / name)
    for file in place.path.glob(f"{name}.*"):
        file.unlink()

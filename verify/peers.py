"""What other packages do with the same model and images: ``make bench-peers``.

They are installed into a virtual environment of their own (``--venv FOLDER``, by default
``.venv-peers``), which sees our torch behind its own packages, without their dependencies but for
the few that they import.  A cell is one thing that one package does with one model, for one epoch
and by its own code, against our method of the same kind in the same process: repetitions are
paired, in alternating order, and the ratio is taken within each.  Image gradients are counted by
the same hook in the model.  A package that cannot be installed or raises is a row with its reason.
"""

import argparse
import contextlib
import copy
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cells
import numpy as np
import peer_ways
import performance
import provenance
import speed
import torch
from peer_ways import OURS, PACKAGES, Job
from torch import Tensor, nn

from unsee.methods import METHODS
from unsee.nouns import Data
from unsee.training import count_images, counting, predict

ROOM = performance.ROOT / ".venv-peers"
REPEATS = 5
MOST = 1800  # seconds for a cell
CASES = {"digits": speed.CASES["digits"], "resnet18": replace(speed.CASES["resnet18"], images=1280)}
WORDS = {
    "finetune": "fine-tunes on what stays",
    "ascent": "climbs the loss of what goes",
    "dampening": "dampens weights",
}
Work = Callable[[], nn.Module]


@cache
def installed(room: Path, peer: str) -> str:
    """Install a package and what it needs, and return why that is impossible, if it is."""
    package = PACKAGES[peer]
    python = room / "bin" / "python"
    if not python.exists():
        venv.create(room, with_pip=True, symlinks=True)
        seen = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        lib = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (room / lib / "ours.pth").write_text(seen)
    wanted = [f"{package.project}=={package.version}", *package.needs]
    quiet = ["install", "--no-deps", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [python, "-m", "pip", *quiet, *wanted], capture_output=True, text=True, timeout=MOST
        )
    except subprocess.TimeoutExpired:
        return f"pip had no answer within {MOST} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return "" if done.returncode == 0 else f"pip: {(errors or ['no reason given'])[-1]}"


def make(name: str, tiny: bool, room: Path) -> cells.Cell:
    """Measure one cell in a process of the peers' environment."""
    peer = name.split("-")[1]
    told = {"version": PACKAGES[peer].version}
    if reason := installed(room, peer):
        return {**told, "failed": reason}
    command = [room / "bin" / "python", __file__, "--of", name, "--tiny" if tiny else "--whole"]
    paths = [str(performance.ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    quiet = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "WANDB_MODE": "disabled"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MOST, env=os.environ | quiet
        )
    except subprocess.TimeoutExpired:
        return {**told, "failed": f"not done within {MOST} s"}
    if done.returncode < 0:
        return {**told, "failed": f"ended by signal {-done.returncode}"}
    if done.returncode:
        raise SystemExit(done.stderr)
    return told | json.loads(done.stdout.splitlines()[-1])


def work(name: str, tiny: bool) -> dict[str, Any]:
    """Do one cell in this process: ours and theirs by turns, once each unmeasured before."""
    case, peer, kind = name.split("-")
    bench = speed.Bench(CASES[case], tiny=tiny)
    model = started(bench) if case == "digits" else bench.built()
    ways = {"theirs": partial(theirs, bench, peer, kind), "ours": partial(ours, bench, kind)}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    after: dict[str, nn.Module] = {}
    for repeat in range(-1, 2 if tiny else REPEATS):
        for way in [*ways][:: 1 if repeat % 2 else -1]:
            job = ways[way](copy.deepcopy(model))
            start = time.perf_counter()
            try:
                with counting() as spent, contextlib.redirect_stdout(sys.stderr):
                    after[way] = job()
            except Exception as error:
                if way == "ours":
                    raise
                return {"failed": first_line(error)}
            took = time.perf_counter() - start
            if repeat >= 0:
                rates[way].append(sum(spent) / took)
                seconds[way].append(took)
    ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    found = {
        "rates": {way: performance.spread(x) for way, x in rates.items()},
        "seconds": {way: performance.spread(x) for way, x in seconds.items()},
        "over_theirs": performance.spread(ratios),
    }
    if case != "digits":
        return found
    known = {"before": model, **after}
    return found | {"accuracy": {who: accuracy(each, bench) for who, each in known.items()}}


def started(bench: speed.Bench) -> nn.Module:
    """Return a model that was trained on all images, the same one every time."""
    draws = torch.Generator().manual_seed(0)
    none, empty = nn.Identity(), bench.data[:0]
    return METHODS["retrain"](
        none, empty, bench.data, rng=draws, factory=bench.built, epochs=bench.epochs
    )


def ours(bench: speed.Bench, kind: str, model: nn.Module) -> Work:
    """Return what unsee does; it works on a copy of its own."""
    name, options = OURS[kind]
    draws = torch.Generator().manual_seed(0)
    return partial(METHODS[name], model, bench.forget, bench.retain, rng=draws, **options)


def theirs(bench: speed.Bench, peer: str, kind: str, model: nn.Module) -> Work:
    """Return what a package does with a copy of the model, on images that lie in place."""
    model.register_forward_pre_hook(count_images)
    torch.manual_seed(0)
    job = Job(model, in_place(bench.forget), in_place(bench.retain), len(bench.data.classes))
    return partial(PACKAGES[peer].ways[kind], job)


def in_place(data: Data) -> tuple[Tensor, Tensor]:
    """Return all images as floats in 0..1, and their labels."""
    pixels = data.take(torch.arange(len(data)))
    return pixels.float().div_(255).contiguous(), data.labels


def accuracy(model: nn.Module, bench: speed.Bench) -> dict[str, float]:
    """Return the share of right answers on the training images that go, and on those that stay."""
    parts = {"forget": bench.forget, "retain": bench.retain}
    seen = {part: predict(model.eval(), data) for part, data in parts.items()}
    right = {part: x.logits.argmax(1) == x.labels for part, x in seen.items()}
    return {part: float(np.mean(x.numpy())) for part, x in right.items()}


def first_line(error: Exception) -> str:
    """Return what an exception says first, without the places of files on this machine."""
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {re.sub(r'[ (]+/[^ )]+[)]?', '', line)}".removesuffix(": ")


def lines(found: performance.Cells) -> list[str]:
    """Return the section of the page."""
    told = [
        "| model | package | what it does | its rate, per s | unsee, per s "
        "| unsee over it: median (least to most) | its time, s | unsee, s "
        "| left of what goes, of what stays: it | unsee |",
        f"|{'---|' * 10}",
    ]
    for name, cell in found.items():
        case, peer, kind = name.split("-")
        columns = [case, f"{PACKAGES[peer].project} {cell['version']}", WORDS[kind]]
        columns += [f"failed: {cell['failed']}", *[""] * 6] if "failed" in cell else _figures(cell)
        told.append(f"| {' | '.join(columns)} |")
    before = [cell["accuracy"]["before"] for cell in found.values() if "accuracy" in cell]
    if before:
        told += ["", f"Before, of what goes and of what stays: {_left(before[0])}."]
    return [*told, *performance.machines(found)]


def _figures(cell: cells.Cell) -> list[str]:
    x, known = cell["over_theirs"], cell.get("accuracy", {})
    told = [f"{cell['rates'][way]['median']:,.0f}" for way in ("theirs", "ours")]
    told.append(f"{x['median']:.2f} ({x['low']:.2f} to {x['high']:.2f})")
    told += [f"{cell['seconds'][way]['median']:.2f}" for way in ("theirs", "ours")]
    return told + [_left(known[way]) if known else "" for way in ("theirs", "ours")]


def _left(shares: dict[str, float]) -> str:
    return ", ".join(f"{100 * shares[part]:.1f} %" for part in ("forget", "retain"))


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell."""
    files = (__file__, peer_ways.__file__, speed.__file__)
    code = [provenance.code(Path(file).read_text()) for file in files]
    return {
        f"{case}-{peer}-{kind}": cells.made_by(*code, provenance.digest(OURS[kind][0]))
        for case in CASES
        for peer, package in PACKAGES.items()
        for kind in package.ways
    }


def main() -> None:
    """Measure what is asked for, and write the page."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--venv", type=Path, default=ROOM, help="where the packages are installed")
    room = own.parse_known_args()[0].venv.resolve()
    work_in = partial(make, room=room)
    performance.command(__doc__, "peers", digests(), work_in, lines, parent=own)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        print(json.dumps(work(sys.argv[2], sys.argv[3] == "--tiny")))
    else:
        main()

"""A cluster of two nodes and a job of two processes, each losing one of them on the way.

Both nodes are this machine's, at 127.0.0.2 and 127.0.0.3; every process has one thread.  Writes the
tables of docs/clusters.md.  About ten minutes on two free cores; needs the extra ``ray``.
"""

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unsee.folder import write
from unsee.parallel import cores

PAGE = Path(__file__).parent.parent / "docs" / "clusters.md"
BEGIN, END = "<!-- verify/cluster.py writes from here -->\n", "<!-- to here -->"
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(Path(__file__).parent.parent / "src"),
}
UNSEE = (sys.executable, "-m", "unsee")
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
    *("-m", "unsee"),
)
WHAT = ("--data", "digits", "--arch", "convnet", "--forget", "class=3")
PATIENCE = 900  # seconds of any one command


def started(*words: str) -> "subprocess.Popen[str]":
    """Start a command in a group of its own, so that all of it can be killed."""
    return subprocess.Popen(
        words,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished(*words: str) -> tuple[float, str]:
    """Run a command that has to succeed; return its seconds and what it said."""
    start = time.monotonic()
    process = started(*words)
    said, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{said}")
    return time.monotonic() - start, said


def wait_for(process: "subprocess.Popen[str]", happened: Callable[[], bool]) -> None:
    """Wait until something has happened while a command runs."""
    end = time.monotonic() + PATIENCE
    while not happened():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"too early an end: {process.communicate()[0]}")
        time.sleep(0.05)


@contextmanager
def node(*flags: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Keep a node of one CPU up inside; it may be killed there."""
    ray = str(Path(sys.executable).parent / "ray")
    more = ("--num-cpus", "1", "--object-store-memory", "100000000", "--disable-usage-stats")
    process = subprocess.Popen(
        [ray, "start", *flags, *more, "--block"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[Any]") -> None:
    """Kill a command and everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


@contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Return the address of a cluster of two nodes, and the second of them."""
    with socket.socket() as free:
        free.bind((HEAD, 0))
        address = f"{HEAD}:{free.getsockname()[1]}"
    head = ("--head", "--port", address.partition(":")[2], "--include-dashboard", "false")
    with node(*head, "--node-ip-address", HEAD, "--temp-dir", str(folder)):
        _until_nodes(address, 1)
        with node("--address", address, "--node-ip-address", SECOND) as second:
            _until_nodes(address, 2)
            yield address, second


def _until_nodes(address: str, n: int) -> None:
    """Wait until a cluster has so many nodes: asked in a process of its own."""
    code = (
        f"import ray; ray.init(address={address!r}, log_to_driver=False, logging_level=50);"
        f"raise SystemExit(sum(x['Alive'] for x in ray.nodes()) < {n})"
    )
    end = time.monotonic() + 120
    while subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True
    ).returncode:
        if time.monotonic() > end:
            raise SystemExit(f"Expected {n} nodes at {address}, got fewer")
        time.sleep(1)


def digests(fleet: Path) -> dict[str, str]:
    """Return the digests of the weights and logits of a fleet."""
    files = [*fleet.glob("*.safetensors"), *fleet.glob("*.npz")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def fleets(place: Path, models: int, epochs: int) -> list[str]:
    """Train the same fleet on this machine and on a cluster, once with a node killed."""
    asked = (
        "oracles",
        *WHAT,
        "--train-epochs",
        str(epochs),
        "--models",
        str(models),
        "--jobs",
        "2",
    )
    loky, cluster, harmed = (place / name for name in ("loky", "cluster", "harmed"))
    rows = ["| fleet | seconds | models | files equal to loky's |", "|---|---|---|---|"]

    def row(name: str, seconds: float, fleet: Path) -> None:
        found, wanted = digests(fleet), digests(loky)
        same = sum(found.get(name) == digest for name, digest in wanted.items())
        whole = len([*fleet.glob("oracle-*.json")])
        rows.append(f"| {name} | {seconds:.0f} | {whole} of {models} | {same} of {len(wanted)} |")
        expected((whole, same), (models, len(wanted)), f"models and equal files of {name}")

    row("loky, 2 processes", finished(*UNSEE, *asked, "--out", str(loky))[0], loky)
    with two_nodes(place / "ray") as (address, second):
        ray = (*asked, "--backend", "ray", "--address", address)
        row("Ray, 2 nodes", finished(*UNSEE, *ray, "--out", str(cluster))[0], cluster)
        start = time.monotonic()
        process = started(*UNSEE, *ray, "--out", str(harmed))
        wait_for(process, lambda: len([*harmed.glob("oracle-*.json")]) >= 2)
        kill(second)
        said, _ = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise SystemExit(f"the fleet ended with {process.returncode}:\n{said}")
        row("Ray, one of 2 nodes killed", time.monotonic() - start, harmed)
        return [*rows, "", *grids(place, address)]


GRID = """title = "Two cells"
data = ["digits"]
forget = ["class=3"]
methods = ["finetune", "noop"]
seeds = 1

[config]
arch = "convnet"
train_epochs = 6
"""


def grids(place: Path, address: str) -> list[str]:
    """Measure a grid on this machine and on what is left of a cluster."""
    (place / "two.toml").write_text(GRID)
    rows = ["| grid | seconds | cells | figures equal to loky's |", "|---|---|---|---|"]
    found: dict[str, dict[str, Any]] = {}
    for name, more in (("loky", ()), ("Ray", ("--backend", "ray", "--address", address))):
        results = place / f"grid {name}"
        where = ("--results", str(results), "--work", str(place / f"work {name}"), "--jobs", "2")
        seconds, _ = finished(*UNSEE, "bench", "run", str(place / "two.toml"), *where, *more)
        cells = {path.stem: json.loads(path.read_text()) for path in results.glob("digits-*.json")}
        found[name] = {cell: record["models"] for cell, record in cells.items()}
        same = sum(x == found["loky"][cell] for cell, x in found[name].items())
        rows.append(f"| {name} | {seconds:.0f} | {len(cells)} of 2 | {same} of 2 |")
        expected((len(cells), same), (2, 2), f"cells and equal cells of {name}")
    return rows


def expected(got: object, wanted: object, what: str) -> None:
    """End with an error where something is not as it has to be."""
    if got != wanted:
        raise SystemExit(f"Expected {wanted} {what}, got {got}")


def children(process: "subprocess.Popen[str]") -> list[int]:
    """Return the processes that one has started, in order."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [*map(int, text.split())]


def jobs(place: Path, epochs: int) -> list[str]:
    """Do a run in one process, in two, and in two of which one is killed on the way."""
    asked = ("run", *WHAT, "--oracle", "retrain", "--train-epochs", str(epochs))
    one, two, harmed, again = (place / name for name in ("one", "two", "harmed run", "again"))
    alone, _ = finished(*UNSEE, *asked, "--out", str(one))
    together, _ = finished(*TORCHRUN, *asked, "--out", str(two))
    models = [f"--{name}={two / file}.safetensors" for name, file in MODELS.items()]
    finished(*UNSEE, "audit", *WHAT, *models, "--out", str(again))
    theirs, ours = (json.loads((x / "audit.json").read_text()) for x in (two, again))
    pairs = [
        (value, ours["models"][model][name])
        for model, found in theirs["models"].items()
        for name, value in found.items()
        if value is not None or ours["models"][model][name] is not None
    ]
    same = sum(a == b for a, b in pairs)
    process, log = started(*TORCHRUN, *asked, "--out", str(harmed)), harmed / "events.jsonl"
    wait_for(process, lambda: log.exists() and '"progress"' in log.read_text())
    os.kill(children(process)[-1], signal.SIGKILL)
    start = time.monotonic()
    said, _ = process.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - start
    told = next((line for line in said.splitlines() if line.startswith("unsee: ")), "nothing")
    finished(*TORCHRUN, *asked, "--out", str(harmed))
    expected(process.returncode != 0, True, "as to whether a harmed job fails")
    names = [f"{file}.safetensors" for file in MODELS.values()]
    equal = sum((harmed / name).read_bytes() == (two / name).read_bytes() for name in names)
    expected((same, equal), (len(pairs), len(names)), "equal figures and models")
    return [
        "| job | seconds | what came of it |",
        "|---|---|---|",
        f"| one process | {alone:.0f} | |",
        f"| two processes | {together:.0f} | {same} of {len(pairs)} figures of the audit are those "
        "of one process that audits the same models |",
        f"| one of two killed in training | {seconds:.1f} to the end | exit code "
        f"{process.returncode}; `{told[:60]}...` |",
        f"| the same command again | | {equal} of {len(names)} models have the bytes of the run "
        "that was not harmed |",
    ]


MODELS = {"original": "original", "unlearned": "model", "retrained": "retrained"}


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--models", type=int, default=6, help="of each fleet")
    parser.add_argument("--epochs", type=int, default=2, help="of every training")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        load = os.getloadavg()[0]
        lines = [
            f"{asked.models} models of {asked.epochs} epochs; {cores()} cores, one thread a "
            f"process; load of the machine before: {load:.1f}.",
            "",
            *fleets(Path(place), asked.models, asked.epochs),
            "",
            *jobs(Path(place), asked.epochs),
            "",
        ]
    start, rest = PAGE.read_text().split(BEGIN)
    _, end = rest.split(END)
    write(PAGE, (start + BEGIN + "\n".join(lines) + END + end).encode())


if __name__ == "__main__":
    main()

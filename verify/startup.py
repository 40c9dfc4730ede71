"""How soon a command answers: ``make bench-startup`` starts each in a process of its own, 30 times.

Commands take turns, after a first round that warms up and does not count.  A floor is measured
beside them: Python that starts and ends.
"""

import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import cells
import performance
import provenance

from unsee.ledger import Ledger

ROUNDS = 30
ALLOWED = {"help": 0.3, "request-list": 0.6}  # seconds
CERTIFICATE = performance.ROOT / "tests" / "golden" / "certificates" / "v1-ledger.json"
UNSEE = ("-m", "unsee")
COMMANDS = {
    "python": ("-c", ""),
    "help": (*UNSEE, "--help"),
    "version": (*UNSEE, "--version"),
    "run-help": (*UNSEE, "run", "--help"),
    "methods": (*UNSEE, "methods"),
    "policy": (*UNSEE, "policy"),
    "request-list": (*UNSEE, "request", "list", "--ledger", "ledger.sqlite"),
    "verify": (*UNSEE, "verify", str(CERTIFICATE)),
}


@cache
def measured(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every command, round by round."""
    spent: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        Ledger(str(Path(place) / "ledger.sqlite")).engine.dispose()
        for _ in range(1 + rounds):
            for name, words in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *words], cwd=place, check=True, capture_output=True)
                spent[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in spent.items()}


def make(name: str, tiny: bool) -> dict[str, Any]:
    """Measure a command: all of them are, in turn, by the first that is asked for."""
    return {"seconds": performance.spread(measured(2 if tiny else ROUNDS)[name])}


def lines(found: performance.Cells) -> list[str]:
    """Return the table of the page."""
    rows = ["| command | seconds: median (least to most) | allowed |", "|---|---|---|"]
    for name in COMMANDS:
        if name in found:
            seconds = _spread(found[name]["seconds"])
            rows.append(f"| {_told(name)} | {seconds} | {_judged(name, found)} |")
    return [*rows, *performance.machines(found)]


def _told(name: str) -> str:
    words = COMMANDS[name][len(UNSEE) :]
    shown = [Path(word).name if "/" in word else word for word in words]
    return "Python alone" if name == "python" else f"`unsee {' '.join(shown)}`"


def _spread(seconds: dict[str, Any]) -> str:
    return f"{seconds['median']:.2f} ({seconds['low']:.2f} to {seconds['high']:.2f})"


def _judged(name: str, found: performance.Cells) -> str:
    if name not in ALLOWED:
        return ""
    met = found[name]["seconds"]["median"] <= ALLOWED[name]
    return f"{ALLOWED[name]}: {'yes' if met else '**no**'}"


def digests() -> dict[str, str]:
    """Return the digest of what decides each cell: what commands import, but for tensors."""
    names = ("cli", "ledger", "certificate", "folder.py", "errors.py", "__init__.py", "__main__.py")
    sources = [provenance.text(x).decode() for x in provenance.sources(names)]
    ours = provenance.code(Path(__file__).read_text())
    return {name: cells.made_by(ours, *sources, asked=name) for name in COMMANDS}


if __name__ == "__main__":
    performance.command(__doc__, "startup", digests(), make, lines)

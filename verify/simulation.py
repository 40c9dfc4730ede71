"""What the verdict's rules make of measured models: from numbers alone, in a second, as CI does.

``python verify/simulation.py`` judges the models of ``docs/evidence/calibration.json`` anew, after
a change of the rules or the policy, and writes what reports quote: ``verdict/limit.json``.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from unsee.functional import exact_share
from unsee.nouns import Measurement, Run
from unsee.verdict import load_policy, verdict

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "evidence" / "calibration.json"
LIMIT = ROOT / "src" / "unsee" / "verdict" / "limit.json"
TUNED, TESTED, SPIKED = range(24), range(100, 124), range(200, 212)  # seeds
ASCENDED = TESTED[:8]
FEWER = (2, 4, 8, 16)  # retrained models
LEFT_IN = (0.01, 0.05, 0.10, 0.25)  # shares of the forget set that stay in training
NAMES = load_policy().classes
IMAGES = {  # behind each number, of digits: at least
    **dict.fromkeys(("forget_accuracy", "membership_auc"), 144),
    **dict.fromkeys(("forgotten_test_accuracy", "few_shot_recall"), 37),
    "retain_accuracy": 1291,
    "test_accuracy": 323,
}
Values = dict[str, list[float] | None]  # value, low, high
Cells = dict[str, Values]


def name_of(kind: str, rule: str, seed: int, share: float = 0.0) -> str:
    """Return the name of one measured model."""
    left = f"-{round(100 * share)}" if share else ""
    return f"{kind}{left}-{rule}-{seed:03d}"


def judged(
    values: Values, original: Values, references: list[Values], *, gone: bool
) -> dict[str, Any]:
    """Return the verdict on one model."""

    def numbers(found: Values) -> dict[str, Measurement | None]:
        return {name: x and Measurement(*x, n=IMAGES[name]) for name, x in found.items()}

    run = Run(
        data={},
        forget={"gone": ["3"] if gone else []},
        measurements={"original": numbers(original), "unlearned": numbers(values)},
        environment={},
        seed=0,
        references={
            name: [x[0] if (x := found[name]) else None for found in references] for name in values
        },
    )
    return verdict(run, load_policy())


def simulated(cells: Cells) -> dict[str, Any]:
    """Make every verdict of the tables."""
    rows: dict[str, Counter[str]] = {}

    def some(kind: str, rule: str, seeds: range, share: float = 0.0) -> list[Values]:
        return [cells[name_of(kind, rule, seed, share)] for seed in seeds]

    def count(row: str, models: list[Values], before: list[Values], against: Any) -> None:
        gone = not row.startswith("random")
        for n, values in enumerate(models):
            done = judged(values, before[n], against(n), gone=gone)
            rows.setdefault(row, Counter())[f"{done['light']}: {done['kind']}"] += 1

    for told, seeds in (("seeds 0-23", TUNED), ("seeds 100-123", TESTED)):
        oracles, originals = (some(kind, "class", seeds) for kind in ("oracle", "original"))
        count(f"retrained, leave one out, {told}", oracles, originals, _others(oracles))
        count(f"noop, {told}", originals, originals, lambda n, o=oracles: o)
        count(f"retrained, one reference, {told}", oracles, originals, _next(oracles))
        count(f"noop, one reference, {told}", originals, originals, _next(oracles))
    for k in FEWER:
        told = f"{k} retrained models, seeds 100-123"
        for name, kind in (("retrained", "oracle"), ("noop", "original"), ("head_only",) * 2):
            count(f"{name}, {told}", some(kind, "class", TESTED), originals, _next(oracles, k))
    for kind in ("head_only", "random_head"):
        models = some(kind, "class", TESTED)
        count(f"{kind}, seeds 100-123", models, originals, lambda n: oracles)
        count(f"{kind}, one reference, seeds 100-123", models, originals, _next(oracles))
    singles, before = (some(kind, "random", TESTED) for kind in ("oracle", "original"))
    count("random 10 %: retrained, leave one out", singles, before, _others(singles))
    count("random 10 %: noop", before, before, lambda n: singles)
    count("random 10 %: ascent", some("ascent", "random", ASCENDED), before, lambda n: singles)
    limit = []
    for share in LEFT_IN:
        models = some("left-in", "class", SPIKED, share)
        lights = [
            judged(v, originals[n], oracles, gone=True)["light"] for n, v in enumerate(models)
        ]
        red = exact_share(lights.count("red"), len(lights))
        ends = {"red": red.value, "low": red.low, "high": red.high, "n": red.n}
        limit.append({"share": share, **ends})
    return {"verdicts": {name: dict(sorted(c.items())) for name, c in rows.items()}, "limit": limit}


def _others(models: list[Values]) -> Any:
    return lambda n: models[:n] + models[n + 1 :]


def _next(models: list[Values], k: int = 1) -> Any:
    """Give each model k references: the retrained models of the next seeds, in a circle."""
    return lambda n: [models[(n + m) % len(models)] for m in range(1, k + 1)]


def page(record: dict[str, Any]) -> str:
    """Return the tables for readers."""
    lines = [
        "# The verdict, simulated",
        "",
        "Made by `make verify` (`verify/calibration.py`) on scikit-learn's digits, 32 x 32,",
        "`convnet`, 8 epochs. A row counts the verdicts on one kind of model; the numbers behind",
        "each model are in `calibration.json`, from which CI makes these tables again.",
        "",
        "| model | n | verdicts |",
        "|---|---|---|",
    ]
    for name, counts in record["verdicts"].items():
        told = ", ".join(f"{n} x {kind}" for kind, n in counts.items())
        lines.append(f"| {name} | {sum(counts.values())} | {told} |")
    lines += [
        "",
        "## Detection limit",
        "",
        "Retrained models in whose training a share of the forget set was left: how often the",
        "verdict is red, with the exact 95 % interval.",
        "",
        "| left in training | red | 95 % interval | models |",
        "|---|---|---|---|",
    ]
    for row in record["limit"]:
        ends = f"{row['low']:.2f}-{row['high']:.2f}"
        lines.append(f"| {row['share']:.0%} | {row['red']:.2f} | {ends} | {row['n']} |")
    lines += ["", "## What the audits measured", "", "Mean and standard deviation over models.", ""]
    lines += ["| model | n | " + " | ".join(NAMES) + " |", "|---|---|" + "---|" * len(NAMES)]
    groups: dict[str, list[Values]] = {}
    for name, values in record["cells"].items():
        era = {"1": " (seeds 100-123)", "0": " (seeds 0-23)"}.get(name[-3], "")
        groups.setdefault(name.rpartition("-")[0] + era, []).append(values)
    for name, group in groups.items():
        spreads = [_spread([v[n][0] for v in group if v.get(n)]) for n in NAMES]
        lines.append(f"| {name} | {len(group)} | {' | '.join(spreads)} |")
    return "\n".join([*lines, "", f"Machine: {record['environment']['device']}.", ""])


def _spread(values: list[Any]) -> str:
    if not values:
        return ""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / max(len(values) - 1, 1))
    return f"{mean:.3f} +- {spread:.3f}"


def quoted(record: dict[str, Any]) -> str:
    """Return what every report quotes of the simulation."""
    return (
        json.dumps({"on": "digits, class=3", "rows": record["limit"]}, indent=1, sort_keys=True)
        + "\n"
    )


def main() -> None:
    """Judge the committed measurements anew, and write the tables."""
    record = json.loads(RESULTS.read_text())
    record |= simulated(record["cells"])
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    RESULTS.with_suffix(".md").write_text(page(json.loads(RESULTS.read_text())))
    LIMIT.write_text(quoted(record))


if __name__ == "__main__":
    main()

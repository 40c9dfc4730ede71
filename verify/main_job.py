"""Slow evidence for the main job: ``make verify`` runs every cell, resumes, and writes the tables.

One cell is one ``unsee run``, in a folder of its own below ``runs/verify``, which resumes; a cell
that is finished runs again only when the sources that decide numbers have changed.  The results are
``docs/evidence/main_job.json`` and a table for readers beside it.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import provenance

from unsee import Config, Measurement, Run, run
from unsee.verdict import load_policy, verdict

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("UNSEE_SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "docs" / "evidence" / "main_job.json"
CIFAR = SHARED / "data" / "cifar10"
GIVEN = SHARED / "models"


def cifar(number: int, method: str = "snu_deep", seed: int = 0) -> Config:
    """CIFAR-10 (JPEG) with the given checkpoints: before, and without the class."""
    return Config(
        data=f"parquet:{CIFAR}",
        model=str(GIVEN / "cifar10-base.safetensors"),
        oracle=str(GIVEN / f"cifar10-no-class{number}.safetensors"),
        forget=f"class={number}",
        method=method,
        seed=seed,
    )


def demo(seed: int) -> Config:
    """Do what ``make demo`` does."""
    return Config(data="digits", forget="class=3", oracle="retrain", train_epochs=6, seed=seed)


CELLS: dict[str, Config] = {
    **{f"digits-class3-seed{seed}": demo(seed) for seed in range(3)},
    "cifar10-class3": cifar(3),
    **{
        f"cifar10-class3-{method}": cifar(3, method)
        for method in ("noop", "head_only", "finetune", "snu")
    },
    "mnist-class3": Config(
        data=f"mnist:{SHARED / 'data' / 'MNIST' / 'raw'}",
        arch="resnet18:imagenet",
        forget="class=3",
        oracle="retrain",
        train_epochs=2,
    ),
}
STAGES = {"original": "train", "unlearned": "unlearn", "retrained": "retrain"}
SHOWN = {
    "forget": "forget_accuracy",
    "retain": "retain_accuracy",
    "test that stays": "test_accuracy",
    "AUC": "membership_auc",
    "probe": "probe_recall",
    "few-shot": "few_shot_recall",
    "relearned": "relearn_recall",
    "restored": "relearn_recall_restored",
    "CKA to original": "cka_original",
    "evidence": "evidence_remaining",
}


def audit_seconds(folder: Path) -> float:
    """Return how long the audit of a finished run took, pictures included."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    found = [event for line in lines if (event := json.loads(line))["stage"] == "audit"]
    starts, ends = ([e["time"] for e in found if e["event"] == kind] for kind in ("start", "end"))
    return float(ends[-1] - starts[-1])


def row(config: Config, done: Run, folder: Path) -> dict[str, Any]:
    """Return what the tables need of one run; paths of this machine stay out."""
    settings = {
        name: value.replace(str(SHARED), "../shared") if isinstance(value, str) else value
        for name, value in asdict(config).items()
    }
    models = {
        model: {name: m and asdict(m) for name, m in found.items() if "/" not in name}
        for model, found in done.measurements.items()
    }
    facts = ("seconds", "images_per_second", "image_gradients", "peak_memory", "environment")
    return {
        "sources": provenance.digest(config.method),
        "common": provenance.earliest(),
        "config": settings,
        "options": done.options,
        "models": models,
        "verdict": {
            key: done.verdict[key] for key in ("light", "kind", "sentence", "reasons", "k")
        },
        "audit_seconds": audit_seconds(folder),
        **{fact: getattr(done, fact) for fact in facts},
    }


def judged(cell: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a cell, from its numbers: rules may change without a new measuring."""
    models = {
        model: {name: m and Measurement(**m) for name, m in found.items()}
        for model, found in cell["models"].items()
    }
    gone = ["3"] if cell["config"]["forget"].startswith("class") else []
    again = models.get("retrained", {})
    run = Run(
        data={},
        forget={"gone": gone},
        measurements=models,
        environment={},
        seed=0,
        references={name: [m.value if m else None] for name, m in again.items()},
    )
    found = verdict(run, load_policy())
    return {key: found[key] for key in ("light", "kind", "sentence", "reasons", "k")}


def table(cells: dict[str, Any]) -> str:
    """Return the Markdown table of all cells."""
    lines = [
        "# The main job, measured",
        "",
        "Made by `make verify` (`verify/main_job.py`). Intervals, n and settings of every figure",
        "are in `main_job.json` beside this file; one cell is one seed.",
        "",
        f"| cell | model | {' | '.join(SHOWN)} | seconds | image gradients |",
        f"|---|---|{'---|' * len(SHOWN)}---|---|",
    ]
    for name, cell in cells.items():
        for model, stage in STAGES.items():
            if model in cell["models"]:
                found = [cell["models"][model][key] for key in SHOWN.values()]
                numbers = ["" if m is None else f"{m['value']:.3f}" for m in found]
                costs = (cell[key].get(stage) for key in ("seconds", "image_gradients"))
                spent = ["given" if cost is None else f"{cost:,.0f}" for cost in costs]
                lines.append(f"| {name} | {model} | {' | '.join(numbers + spent)} |")
    lines += [
        "",
        "## Verdicts",
        "",
        "One retrained model: amber at best. Seconds of the whole audit; peak of the process.",
        "",
        "| cell | verdict | reasons | audit, s | peak, GiB |",
        "|---|---|---|---|---|",
    ]
    for name, cell in cells.items():
        said = judged(cell)
        peak = cell["peak_memory"] / 2**30
        why = "; ".join(said["reasons"])
        told = f"{said['light']}: {said['kind']}"
        lines.append(f"| {name} | {told} | {why} | {cell['audit_seconds']:.0f} | {peak:.1f} |")
    machine = {cell["environment"]["device"] for cell in cells.values()}
    return "\n".join([*lines, "", f"Machine: {', '.join(sorted(machine))}.", ""])


def excerpt(cells: dict[str, Any]) -> str:
    """Return the README's table: value and 95 % interval of the three real tasks, one seed each."""
    titles = {
        "digits-class3-seed0": "digits, class 3",
        "mnist-class3": "MNIST, class 3",
        "cifar10-class3": "CIFAR-10 (JPEG), cat",
    }
    names = {key: SHOWN[key] for key in ("forget", "test that stays", "AUC", "few-shot")}
    lines = [
        f"| task | model | {' | '.join(names)} | seconds |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for cell, title in titles.items():
        for model, stage in STAGES.items():
            found = [cells[cell]["models"][model][key] for key in names.values()]
            numbers = [f"{m['value']:.3f} ({m['low']:.3f}-{m['high']:.3f})" for m in found]
            seconds = cells[cell]["seconds"].get(stage)
            numbers.append("given" if seconds is None else f"{seconds:,.0f}")
            lines.append(f"| {title} | {model} | {' | '.join(numbers)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the cells that are asked for, or all that are not up to date."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("cells", nargs="*", choices=[*CELLS, []], default=[])
    asked = parser.parse_args().cells or [*CELLS]
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    current = {name: provenance.digest(config.method) for name, config in CELLS.items()}
    known = {name: cell for name, cell in known.items() if cell["sources"] == current.get(name)}
    for name in asked:
        config = CELLS[name]
        made_by = current[name]
        folder = ROOT / "runs" / "verify" / f"{name}-{made_by[:8]}"
        if name in known:
            print(f"{name}: up to date", file=sys.stderr)
            continue
        if config.data != "digits" and not SHARED.exists():
            print(f"{name}: skipped, {SHARED} is missing", file=sys.stderr)
            continue
        known[name] = row(config, run(config, folder), folder)
        ordered = {cell: known[cell] for cell in CELLS if cell in known}
        RESULTS.write_text(json.dumps(ordered, indent=1, sort_keys=True) + "\n")
        print(f"{name}: done", file=sys.stderr)
    known = {name: cell | {"verdict": judged(cell)} for name, cell in known.items()}
    ordered = {cell: known[cell] for cell in CELLS if cell in known}
    RESULTS.write_text(json.dumps(ordered, indent=1, sort_keys=True) + "\n")
    known = json.loads(RESULTS.read_text())  # in the order that readers of the file get
    RESULTS.with_suffix(".md").write_text(table(known))
    if known.keys() == CELLS.keys():
        RESULTS.with_name("readme.md").write_text(excerpt(known))


if __name__ == "__main__":
    main()

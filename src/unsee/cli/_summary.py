"""A finished run in at most 18 lines of at most 80 columns."""

import shlex
from pathlib import Path
from textwrap import wrap

from unsee.console import printable
from unsee.nouns import Measurement, Run
from unsee.reporting import result

MODELS = ("original", "unlearned", "retrained")
MAIN = (
    *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    *("trigger_success", "corrected_accuracy", "membership_auc"),
    *("probe_recall", "few_shot_recall", "relearn_recall", "evidence_remaining"),
)
WIDTH = 80
SAID = 3  # lines of the verdict's sentence at most, and what to do next where it is bad


def summary(run: Run, folder: Path) -> str:
    """Return what a person wants to know first: verdict, values with intervals, cost, where."""
    rule, name = printable(run.forget["rule"]), printable(run.data["name"])
    told = f"{run.method}, asked to forget {rule}: {run.forget['count']} images of {name}"
    models = [model for model in MODELS if model in run.measurements]
    todo = step(run)
    lines = verdict(run, said=SAID - bool(todo)) + todo
    lines += [clipped(told), " " * 23 + "".join(f"{model:>18}" for model in models).rstrip()]
    for key in MAIN:
        found = [run.measurements[model].get(key) for model in models]
        if any(found):
            lines.append(f"{key:23}" + "".join(f"{interval(value):>18}" for value in found))
    lines.append(clipped(_cost(run)))
    rates = [f"{stage} {rate:,.0f}" for stage, rate in run.images_per_second.items() if rate]
    if rates and not todo:
        lines.append(clipped(f"images per second: {', '.join(rates)}"))
    lines.append(f"report  {printable(str(folder / 'report.html'))}")
    shared = ["unsee", "report", str(folder), "--redact", "--out", "shared.html"]
    lines.append(f"next    {printable(shlex.join(shared))}")
    return "\n".join(lines)


def step(run: Run, width: int = WIDTH) -> list[str]:
    """Return what to do next in two lines at most; none but where something went wrong."""
    found = result(run)
    if found.tone != "bad" or not found.steps:
        return []
    return _within(printable(found.steps[0]), width, 2)


def verdict(run: Run, width: int = WIDTH, said: int = SAID) -> list[str]:
    """Return the light and its sentence in a few lines; none where the run was not judged."""
    if not run.verdict:
        return []
    light = str(run.verdict.get("light", "grey")).upper()
    sentence = printable(str(run.verdict.get("sentence", "")))
    begun = sentence if sentence.upper().startswith(light) else f"{light}  {sentence}"
    return _within(begun, width, said)


def _within(text: str, width: int, most: int) -> list[str]:
    """Wrap a text to so many lines at most."""
    lines = wrap(text, width, subsequent_indent="  ", break_long_words=True)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][: width - 4].rstrip()} ..."]
    return lines


def clipped(line: str, width: int = WIDTH) -> str:
    """Return a line of at most ``width`` characters."""
    return line if len(line) <= width else line[: width - 3] + "..."


def interval(found: Measurement | None) -> str:
    """Return a value and its 95 % interval in at most 17 columns, a dash for none."""
    return f"{found.value:.3f} {found.low:.3f}-{found.high:.3f}" if found else "-"


def _cost(run: Run) -> str:
    """Return seconds of unlearning and retraining, their ratio and the peak memory."""
    spent, full = (run.seconds.get(stage) for stage in ("unlearn", "retrain"))
    parts = [] if spent is None else [f"unlearned in {spent:.1f} s"]
    if full is not None:
        parts.append(f"retrained in {full:.1f} s")
    if spent and full:
        parts.append(f"ratio {full / spent:.1f}")
    if run.peak_memory:
        parts.append(f"peak memory {run.peak_memory / 2**30:.2f} GiB")
    return ", ".join(parts) or "cost not recorded"

"""What the measured models of ``frontier.py`` say: every criterion, judged from numbers alone.

A figure is a list: its value, then its value for each redraw of the images.  The redraws are the
same for every model of a task, so lists are added and subtracted place by place: the first place is
the figure, the 2.5 % and 97.5 % of the others its paired interval.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cells
import numpy as np
from numpy.typing import NDArray

PAGE = Path(__file__).parent.parent / "docs" / "frontier.md"
TITLES = {
    "cifar10-class3": "CIFAR-10 (JPEG), class 3 (cat)",
    "cifar10-class0": "CIFAR-10 (JPEG), class 0 (airplane)",
    "mnist-class3": "MNIST, class 3",
    "digits-class3": "Digits, class 3",
    "cifar10-random10": "CIFAR-10 (JPEG), a random 10 % of the images",
}
GIVEN = "`resnet18:cifar-pool`: [the given models](data.md#the-data-and-models-that-were-measured)."
NETWORKS = {  # by task: what its title does not say
    "cifar10-class3": GIVEN,
    "cifar10-class0": GIVEN,
    "mnist-class3": "`resnet18:imagenet`, trained for 2 epochs, retrained models too.",
    "digits-class3": "`convnet`, trained for 8 epochs, retrained models too. The digits of the "
    "[README](../README.md) are another experiment: `resnet18:imagenet`, 6 epochs.",
    "cifar10-random10": GIVEN,
}
RIVALS = ("snu_weights",)  # measured beside ours
ATTACKS = ("loss", "confidence", "entropy", "modified_entropy", "margin", "learned")
SHOWN = {
    "forget_accuracy": "forget",
    "retain_accuracy": "retain",
    "test_accuracy": "test that stays",
    "membership_auc/loss": "AUC",
    "probe_recall": "probe",
    "few_shot_recall": "few-shot",
    "relearn_recall": "relearned",
    "relearn_recall_restored": "restored",
    "js_distance": "JS",
}
AUDITED = ("probe_recall", "few_shot_recall", "relearn_recall", "relearn_recall_restored")
NOT_MEASURED = ["Not measured.", ""]
WHY = """
- **MNIST, class 3.** What is spent goes with the images to forget, and there are 6,131 of them;
  passing over 5,000 kept to the gradients and cost more accuracy
  ([tried](methods/snu_deep.md)). The original errs on 6 of 1,000 images that stay, so the few
  thousandths that an epoch costs are more than the limit.
- **Digits, class 3.** One test image is .003 and one unseen image of the class .027, so most limits
  are below what a single image makes. Whether relearning with the original's output layer brings
  the class back differs from one retrained model to the next by nearly the whole scale: the mean of
  the first two says little.
- **Time.** Beside each forgotten image two that stay pass through two models. Fewer or none of them
  cost accuracy: the buffers above. Nothing else was tried to come to a fortieth.
- **Single images.** See [snu_deep](methods/snu_deep.md), [snu_weights](methods/snu_weights.md).
""".strip("\n").split("\n")
LESS = (("buffer01-", "a 1 %", 0.02), ("buffer00-", "no", 0.05))  # and how far accuracy may fall
MISSED, DEPTH = "## What is missed, and why, as far as that is known", "few_shot_recall"
EIGHT = ("mnist-class3", "digits-class3")  # tasks that are to have eight retrained models
TOO_NEAR, QUARTER, EPOCHS = 0.05, 0.25, 10
Figure = NDArray[np.float64]  # [1 + draws]


@dataclass(frozen=True)
class Row:
    """One criterion: what was measured, what was asked for, and whether it counts."""

    name: str
    figure: Figure
    limit: str  # "<= 0.005"
    open: str = ""  # why it is reported and not judged; empty: it is judged

    @property
    def met(self) -> bool:
        """Whether the figure, not its interval, is within the limit."""
        sign, _, number = self.limit.partition(" ")
        value, limit = round(float(self.figure[0]), 9), float(number)  # sums have dust
        return value <= limit if sign == "<=" else value >= limit

    def line(self) -> str:
        """Return the row of the table."""
        judged = f"not judged: {self.open}" if self.open else ("met" if self.met else "**missed**")
        return f"| {self.name} | {spelled(self.figure)} | {self.limit} | {judged} |"


@dataclass(frozen=True)
class Models:
    """The figures of one task: of the original, of the retrained models, and of each seed."""

    original: cells.Cell
    retrained: list[cells.Cell]
    seeds: list[cells.Cell]

    def before(self, name: str) -> Figure:
        """Return what the original says."""
        return figure(self.original, name)

    def again(self, name: str) -> Figure:
        """Return the mean of the first two retrained models, or what the only one says."""
        return middle([figure(cell, name) for cell in self.retrained[:2]])

    def now(self, name: str) -> Figure:
        """Return the mean over seeds."""
        return middle([figure(cell, name) for cell in self.seeds])


def figure(cell: cells.Cell, name: str) -> Figure:
    """Return one measurement of one model with its redraws."""
    return np.asarray(cell["values"][name], dtype=np.float64)


def middle(several: list[Figure]) -> Figure:
    """Return the mean of several figures, place by place."""
    found: Figure = np.mean(several, 0)
    return found


def constant(value: float) -> Figure:
    """Return a figure without images behind it."""
    return np.asarray([value], dtype=np.float64)


def interval(found: Figure) -> tuple[float, float]:
    """Return the ends of the 95 % interval, wide enough to hold the value."""
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return min(float(low), float(found[0])), max(float(high), float(found[0]))


def spelled(found: Figure) -> str:
    """Write a figure with its interval, if it has one."""
    if len(found) == 1:
        value = float(found[0])
        return f"{value:,.0f}" if value >= 100 else f"{value:.4f}"
    first, low, high = (f"{round(x, 4) + 0.0:.4f}" for x in (float(found[0]), *interval(found)))
    return f"{first} ({low} to {high})"


def models_of(found: dict[str, cells.Cell], task: str, kind: str = "") -> Models | None:
    """Return the models of a task; None while its original, a retrained or a seed is missing."""
    mine = {
        cell["model"]: cell
        for cell in found.values()
        if cell.get("task") == task and (cell["model"].startswith(("original", "retrained", kind)))
    }
    retrained = [mine[x] for x in sorted(mine) if x.startswith("retrained")]
    seeds = [mine[x] for x in sorted(mine) if x.startswith(f"{kind}seed")]
    if "original" not in mine or not retrained or not seeds:
        return None
    return Models(mine["original"], retrained, seeds)


def near(models: Models, names: Iterable[str]) -> str:
    """Say why an audit is not judged, if it cannot tell the original from retrained models."""
    gaps = [abs(float(models.before(name)[0] - models.again(name)[0])) for name in names]
    if max(gaps) < TOO_NEAR:
        return f"original and retrained differ by {max(gaps):.3f}, less than {TOO_NEAR}"
    return "" if len(models.retrained) > 1 else "one retrained model"


def way_back(models: Models, name: str) -> Figure:
    """Return how far from retrained (0) to original (1) a recall is."""
    start, end = models.again(name), models.before(name)
    gap = np.where(np.abs(end - start) < 1e-9, np.nan, end - start)
    share: Figure = np.nan_to_num((models.now(name) - start) / gap)
    return share


def distances(models: Models) -> Figure:
    """Return ``[attacks, 1 + draws]``: how far each attack's AUC is from the retrained models'."""
    names = [f"membership_auc/{attack}" for attack in ATTACKS]
    return np.stack([np.abs(models.now(name) - models.again(name)) for name in names])


def whole_class(models: Models) -> list[Row]:
    """Judge the forgetting of a whole class."""
    now, again, before = models.now, models.again, models.before
    apart = distances(models)
    attacks = near(models, [f"membership_auc/{attack}" for attack in ATTACKS])
    worst = ATTACKS[int(apart[:, 0].argmax())]
    rows = [
        Row("forget accuracy", now("forget_accuracy"), "<= 0.005"),
        Row(
            "retain accuracy, minus the original's",
            now("retain_accuracy") - before("retain_accuracy"),
            ">= -0.002",
        ),
        Row(
            "test accuracy, minus retrained",
            now("test_accuracy") - again("test_accuracy"),
            ">= -0.005",
        ),
        Row("AUC, distance to retrained, mean of the attacks", apart.mean(0), "<= 0.012", attacks),
        Row(f"the same, worst attack ({worst})", apart.max(0), "<= 0.02", attacks),
    ]
    for name, told in (("probe_recall", "probe recall"), ("few_shot_recall", "few-shot recall")):
        told = f"{told}, way back from retrained to original"
        rows.append(Row(told, way_back(models, name), f"<= {QUARTER}", near(models, [name])))
    name = "relearn_recall"
    rows.append(
        Row("relearned, above retrained", now(name) - again(name), "<= 0.05", near(models, [name]))
    )
    name = "relearn_recall_restored"
    told = "relearned with the original output layer, way back"
    rows.append(Row(told, way_back(models, name), f"<= {QUARTER}", near(models, [name])))
    if len(models.retrained) > 1:
        ratio = now("js_distance") / np.maximum(again("js_distance"), 1e-9)
        rows.append(Row("JS distance, over that between two retrained", ratio, "<= 1.3"))
    else:
        told = "JS distance to the retrained model"  # a limit is for its ratio to that between two
        rows.append(Row(told, now("js_distance"), "", "one retrained model"))
    return rows


def share_of_retraining(cell: cells.Cell) -> float:
    """Return seconds of unlearning over those of ten epochs of retraining, timed around it.

    The faster of the two timings counts: what else the machine did would make retraining slow.
    """
    per_image = min(x["seconds"] / x["images"] for x in cell["retraining"]["timed"])
    return float(cell["seconds"] / (EPOCHS * cell["retraining"]["images"] * per_image))


def costs(models: Models) -> list[Row]:
    """Judge what it cost; the worst seed counts."""
    spent = max(cell["image_gradients"] for cell in models.seeds)
    share = max(map(share_of_retraining, models.seeds))
    return [
        Row("image gradients, most of any seed", constant(spent), "<= 22000"),
        Row("time over ten epochs of retraining, most of any seed", constant(share), "<= 0.05"),
    ]


def some_images(models: Models) -> list[Row]:
    """Judge the forgetting of arbitrary images."""
    now, again = models.now, models.again
    apart = distances(models)
    tug = np.mean(
        [
            np.prod(
                [
                    1 - np.abs(figure(cell, f"{part}_accuracy") - again(f"{part}_accuracy"))
                    for part in ("forget", "retain", "test")
                ],
                0,
            )
            for cell in models.seeds
        ],
        0,
    )
    gap = np.abs(now("forget_accuracy") - again("forget_accuracy"))
    worst = ATTACKS[int(apart[:, 0].argmax())]
    return [
        Row("forget accuracy, distance to retrained", gap, "<= 0.015"),
        Row(
            "test accuracy, minus retrained",
            now("test_accuracy") - again("test_accuracy"),
            ">= -0.01",
        ),
        Row("AUC of the loss, distance to retrained", apart[0], "<= 0.01"),
        Row(f"the same, worst attack ({worst})", apart.max(0), "<= 0.01", "beyond what is asked"),
        Row("tug of war, mean of the seeds", tug, ">= 0.97"),
    ]


def beyond(found: dict[str, cells.Cell], task: str, models: Models) -> list[Row]:
    """Return what goes beyond the criteria, as far as it was measured."""
    rows = []
    if task.startswith("cifar10"):
        for name, told in (("probe_recall", "probe"), ("few_shot_recall", "few-shot")):
            apart = np.abs(models.now(name) - models.again(name))
            rows.append(Row(f"{told} recall, distance to retrained", apart, "<= 0.03"))
    share = max(map(share_of_retraining, models.seeds))
    rows.append(Row("time over ten epochs of retraining", constant(share), "<= 0.025"))
    for kind, told, limit in LESS:
        if less := models_of(found, task, kind):
            change = less.now("retain_accuracy") - less.before("retain_accuracy")
            told = f"{told} buffer: retain accuracy, minus the original's"
            rows.append(Row(told, change, f">= {-limit}"))
    return rows


def with_less(found: dict[str, cells.Cell], task: str) -> list[str]:
    """Return every criterion for smaller buffers, of which none is asked but what stays."""
    lines = []
    for kind, told, _ in LESS:
        if less := models_of(found, task, kind):
            lines += [f"### With {told} buffer", "", *criteria(whole_class(less)), "", *table(less)]
    return lines


def spread(models: Models) -> list[str]:
    """Say of every audit whether the method lies between the least and the most of eight."""
    names = [*SHOWN, *(f"membership_auc/{attack}" for attack in ATTACKS[1:])]
    lines = [
        f"Inside the spread of the {len(models.retrained)} retrained models:",
        "",
        "| audit | least retrained | most retrained | seeds | mean | inside |",
        "|---|---|---|---|---|---|",
    ]
    inside = 0
    for name in names:
        theirs = [float(figure(cell, name)[0]) for cell in models.retrained]
        ours = [float(figure(cell, name)[0]) for cell in models.seeds]
        within = min(theirs) <= round(cells.mean(ours), 9) <= max(theirs)
        inside += within
        told = ", ".join(f"{x:.3f}" for x in ours)
        ends = f"{min(theirs):.3f} | {max(theirs):.3f}"
        word = "yes" if within else "**no**"
        lines.append(f"| {name} | {ends} | {told} | {cells.mean(ours):.3f} | {word} |")
    reached = "reached" if inside == len(names) else "not reached"
    lines += ["", f"The mean of the seeds is inside in {inside} of {len(names)}: {reached}.", ""]
    return lines


def table(models: Models) -> list[str]:
    """Return every model's figures."""
    names = [name for name in SHOWN if any(name in cell["values"] for cell in models.seeds)]
    lines = [
        f"| model | {' | '.join(SHOWN[name] for name in names)} | seconds | image gradients |",
        f"|---|{'---|' * len(names)}---|---|",
    ]
    for cell in (models.original, *models.retrained, *models.seeds):
        values = [
            f"{figure(cell, name)[0]:.3f}" if name in cell["values"] else "" for name in names
        ]
        spent = [
            f"{cell[key]:,.0f}" if key in cell else "" for key in ("seconds", "image_gradients")
        ]
        lines.append(f"| {cell['model']} | {' | '.join(values + spent)} |")
    return [*lines, ""]


def section(found: dict[str, cells.Cell], task: str) -> list[str]:
    """Return what is said of one task: of our method, then of others that were measured there."""
    network = [NETWORKS[task], ""] if task in NETWORKS else []
    lines = ["", f"## {TITLES[task]}", "", *network]
    lines += ours(found, task, models) if (models := models_of(found, task)) else NOT_MEASURED
    for method in RIVALS:
        if others := models_of(found, task, f"{method}-"):
            lines += [f"### The same by `{method}`", "", *judged(task, others)]
    lines += [
        f"The guard stopped {cell['model']}, which was measured all the same: {cell['stopped']}"
        for cell in found.values()
        if cell.get("task") == task and cell.get("stopped")
    ]
    return lines[:-1] if not lines[-1] else lines


def ours(found: dict[str, cells.Cell], task: str, models: Models) -> list[str]:
    """Return what is said of our method: its criteria, and what goes beyond them."""
    lines = judged(task, models)
    if "class" in task and (rows := beyond(found, task, models)):
        lines += ["Beyond the criteria:", ""]
        for row in rows:
            word = "reached" if row.met else "not reached"
            lines.append(f"- {row.name}: {spelled(row.figure)}, {row.limit} asked: {word}")
        lines.append("")
    if len(models.retrained) >= 8:
        lines += spread(models)
    elif task in EIGHT:
        few = len(models.retrained)
        lines += [f"The spread of eight retrained models: not measured, {few} are there.", ""]
    return lines + with_less(found, task)


def judged(task: str, models: Models) -> list[str]:
    """Return every criterion for these models, then their figures."""
    judge: Callable[[Models], list[Row]] = all_of_a_class if "class" in task else some_images
    rows = judge(models)
    counted = [row for row in rows if not row.open]
    missed = [row.name for row in counted if not row.met]
    n, first = models.original["n"], models.seeds[0]
    return [
        f"n: {n['forget']:,} forgotten, {n['retain']:,} that stay, {n['test']:,} test images of "
        f"these, {models.original['unseen']:,} unseen images of the forgotten kind; "
        f"{len(models.seeds)} seeds; {len(models.retrained)} retrained; a buffer of "
        f"{first['buffer']:,} images.",
        "",
        f"**{len(counted) - len(missed)} of {len(counted)} judged criteria met.**"
        + (f" Missed: {'; '.join(missed)}." if missed else "")
        + f" Of each seed alone: {', '.join(seed_by_seed(models, judge))}.",
        "",
        *criteria(rows),
        "",
        *table(models),
    ]


def all_of_a_class(models: Models) -> list[Row]:
    """Judge the forgetting of a whole class, and what it cost."""
    return [*whole_class(models), *costs(models)]


def criteria(rows: Iterable[Row]) -> list[str]:
    """Return criteria as a table."""
    head = ["| criterion | measured (95 % interval) | asked | |", "|---|---|---|---|"]
    return [*head, *(row.line() for row in rows)]


def seed_by_seed(models: Models, judge: Callable[[Models], list[Row]]) -> Iterator[str]:
    """Say how many of the judged criteria each seed meets."""
    for cell in models.seeds:
        counted = [row for row in judge(replace(models, seeds=[cell])) if not row.open]
        yield f"{sum(row.met for row in counted)}"


def exponents(cell: cells.Cell) -> list[float]:
    """Return the slope of log seconds over log images that stay, of each round."""
    lengths = sorted(cell["seconds"], key=int)
    x = np.log([int(n) for n in lengths])
    rounds = zip(*(cell["seconds"][n] for n in lengths), strict=True)
    return [float(np.polyfit(x, np.log(seconds), 1)[0]) for seconds in rounds]


def flatness(cell: cells.Cell | None) -> list[str]:
    """Say how the time grows with the training set."""
    lines = ["", "## Time beside a growing training set", ""]
    if cell is None:
        return [*lines, "Not measured."]
    slopes = exponents(cell)
    lengths = sorted(cell["seconds"], key=int)
    middle = float(np.median(slopes))
    lines += [
        f"MNIST, {cell['arch']}: {cell['forget']:,} images to forget, a buffer of "
        f"{cell['buffer']:,}, and ever more images that stay. The clock runs over the whole call, "
        f"the cutting of the buffer included; {len(slopes)} rounds, in rotated order, after one "
        "that warms up.",
        "",
        "| images that stay | seconds, median | least | most |",
        "|---|---|---|---|",
    ]
    for n in lengths:
        each = cell["seconds"][n]
        lines.append(
            f"| {int(n):,} | {float(np.median(each)):.2f} | {min(each):.2f} | {max(each):.2f} |"
        )
    word = "met" if middle < 0.1 else "**missed**"
    return [
        *lines,
        "",
        f"Exponent: {middle:.3f}, median of the rounds ({min(slopes):.3f} to {max(slopes):.3f}); "
        f"below 0.1 asked: {word}.",
    ]


def over_erased(found: dict[str, cells.Cell]) -> list[str]:
    """Say where less of the class is left than in the retrained models, farther than is judged."""
    told = []
    for task in TITLES:
        models = models_of(found, task)
        if models is None or "class" not in task:
            continue
        now, again = (float(x(DEPTH)[0]) for x in (models.now, models.again))
        if again - now > TOO_NEAR:
            told.append(f"  - {TITLES[task]}: {now:.3f}, retrained {again:.3f}")
    if not told:
        return []
    return [
        "- **Over-erased.** Few-shot recall ends below the retrained models': it can be noticed.",
        "  By these criteria it is no miss:",
        *told,
    ]


def page(found: dict[str, cells.Cell]) -> str:
    """Return the page for readers."""
    lines = [
        "# How near to retraining `snu_deep` comes",
        "",
        "Made by `verify/frontier.py`, with the method's defaults everywhere; the figures of every",
        "model are in `evidence/frontier/`. What is judged is the mean over seeds against the mean",
        "of the first two retrained models; intervals redraw the images, the same ones for all",
        f"models. An audit in which original and retrained differ by less than {TOO_NEAR}, or that",
        "has one retrained model of a class to compare with, is reported and not judged. Time is",
        "the whole call, against ten epochs of retraining as extrapolated from one epoch over a",
        "part of the images that stay, timed just before and just after: the faster of the two.",
        "Criteria of depth have one side: they ask how much of the class is left, at most, and let",
        "pass whatever erases more of it than retraining does.",
    ]
    for task in TITLES:
        lines += section(found, task)
    lines += [*flatness(found.get("flat")), "", MISSED, "", *over_erased(found), *WHY]
    return "\n".join([*lines, "", f"Machine: {cells.machines(found.values())}.", ""])

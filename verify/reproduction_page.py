"""What the cells of ``reproduce.py`` say about the abstract's claims, from numbers alone.

Every sentence that quotes a figure is made here, and whether a claim holds follows from a rule that
stands beside it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import cells

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "reproduction.md", DOCS / "images" / "reproduction.svg"
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10 (JPEG)"}
FIRST = "epochs1-buffer10"  # the setting that pictures and most claims are about
SETTINGS = {
    "epochs1-buffer10": "1 epoch, 10 % buffer",
    "epochs2-buffer10": "2 epochs, 10 % buffer",
    "epochs1-buffer00": "1 epoch, no buffer",
    "epochs2-buffer00": "2 epochs, no buffer",
}
SHOWN = {
    "forget_accuracy": "forget",
    "forgotten_test_accuracy": "unseen of the class",
    "retain_accuracy": "retain",
    "test_accuracy": "test that stays",
    "membership_auc": "AUC",
    "few_shot_recall": "few-shot",
    "evidence_remaining": "evidence left",
    "evidence_of_answer": "evidence of answer",
    "iou_true": "IoU, true",
    "pearson_true": "r, true",
    "iou_answer": "IoU, answer",
    "pearson_answer": "r, answer",
}
ATTACKS = ("confidence", "entropy", "modified_entropy", "margin", "learned")
GONE, FALL, LEFT, CHEAP = 0.01, 0.02, 0.25, 0.1  # the rules of the claims
Group = list[cells.Cell]  # the same setting of every class


def group(found: dict[str, cells.Cell], data: str, kind: str) -> Group:
    """Return the cells of one setting, by class."""
    mine = [found.get(f"{data}-class{number}-{kind}") for number in range(10)]
    return [cell for cell in mine if cell is not None]


def value(cell: cells.Cell, name: str) -> float | None:
    """Return a figure; None where there is none."""
    measured = cell.get("measured", {}).get(name)
    return None if measured is None else float(measured["value"])


def values(some: Group, name: str) -> list[float]:
    """Return a figure of every class that has it."""
    return [x for cell in some if (x := value(cell, name)) is not None]


def ranged(each: Iterable[float], form: str = ".3f") -> str:
    """Write mean and range."""
    found = [*each]
    if not found:
        return "none"
    return f"{cells.mean(found):{form}} ({min(found):{form}}-{max(found):{form}})"


def falls(some: Group, before: Group, name: str) -> list[float]:
    """Return by how much a figure fell in every class that has it before and after."""
    start = {cell["class"]: value(cell, name) for cell in before}
    pairs = [(start.get(cell["class"]), value(cell, name)) for cell in some]
    return [a - b for a, b in pairs if a is not None and b is not None]


def share(cell: cells.Cell) -> float | None:
    """Return image gradients over those of retraining."""
    if "image_gradients" not in cell:
        return None
    return float(cell["image_gradients"]) / float(cell["retraining_gradients"])


def holds(some: Group, rule: Callable[[cells.Cell], bool]) -> str:
    """Say in how many classes a rule holds; a class that diverged is one where it does not."""
    n = sum("failed" not in cell and rule(cell) for cell in some)
    return f"{'holds' if n == len(some) else 'does not hold'}: {n} of {len(some)} classes"


def at_most(name: str, limit: float) -> Callable[[cells.Cell], bool]:
    """Return a rule on one figure."""
    return lambda cell: (x := value(cell, name)) is not None and x <= limit


def keeps(before: Group, limit: float) -> Callable[[cells.Cell], bool]:
    """Return the rule that test accuracy of what stays falls by ``limit`` at most."""

    def rule(cell: cells.Cell) -> bool:
        fell = falls([cell], before, "test_accuracy")
        return bool(fell) and fell[0] <= limit

    return rule


def both(*rules: Callable[[cells.Cell], bool]) -> Callable[[cells.Cell], bool]:
    """Return the rule that all of these hold."""
    return lambda cell: all(rule(cell) for rule in rules)


def disrupts(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Tell of the first claim."""
    before, after = (group(found, data, kind) for kind in ("original", FIRST))
    rule = both(at_most("forget_accuracy", GONE), at_most("forgotten_test_accuracy", GONE))
    deep = {kind: values(cell, "few_shot_recall") for kind, cell in (("b", before), ("a", after))}
    auc = {kind: values(cell, "membership_auc") for kind, cell in (("b", before), ("a", after))}
    return [
        f"{holds(after, rule)}. Accuracy on the forgotten images "
        f"{ranged(values(before, 'forget_accuracy'))} before, "
        f"{ranged(values(after, 'forget_accuracy'))} after.",
        f"Beneath the answers: five images find the class again with a recall of "
        f"{ranged(deep['a'])} (before {ranged(deep['b'])}); membership AUC by loss "
        f"{ranged(auc['a'])} (before {ranged(auc['b'])}).",
    ]


def retention(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Tell of the second claim."""
    before = group(found, data, "original")
    lines = []
    for kind in ("epochs1-buffer10", "epochs1-buffer00"):
        after = group(found, data, kind)
        fell = ranged(falls(after, before, "test_accuracy"))
        told = SETTINGS[kind]
        lines.append(f"{told}: {holds(after, keeps(before, FALL))}; test accuracy falls by {fell}.")
    return lines


def quick(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Tell of the third claim."""
    before = group(found, data, "original")
    rule = both(at_most("forget_accuracy", GONE), keeps(before, FALL))
    lines = []
    for kind in ("epochs1-buffer10", "epochs2-buffer10"):
        after = group(found, data, kind)
        forget = ranged(values(after, "forget_accuracy"))
        fell = ranged(falls(after, before, "test_accuracy"))
        lines.append(
            f"{SETTINGS[kind]}: {holds(after, rule)}; forget accuracy {forget}, test accuracy "
            f"falls by {fell}."
        )
    return lines


def refocused(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Tell of the fourth claim."""
    before, after = (group(found, data, kind) for kind in ("original", FIRST))
    blank = [x for cell in before if (x := cell["control"]["iou_true"]) is not None]
    control = ranged(float(x["value"]) for x in blank)
    noise = max((float(x["value"]) for x in blank), default=0.0)
    rule = both(at_most("evidence_remaining", LEFT), at_most("iou_answer", (1 + noise) / 2))
    return [
        f"{holds(after, rule)}. Evidence of the true class left: "
        f"{ranged(values(after, 'evidence_remaining'))} of the original's; evidence of the class "
        f"that is answered now: {ranged(values(after, 'evidence_of_answer'))} of that on images "
        "that stay.",
        f"Overlap (IoU) with the original's map of the true class: of what is left of the true "
        f"class {ranged(values(after, 'iou_true'))}, of the class answered now "
        f"{ranged(values(after, 'iou_answer'))} (before: {ranged(values(before, 'iou_answer'))}), "
        f"of random weights {control}; an unmoved map has 1. Correlation: "
        f"{ranged(values(after, 'pearson_true'))} and {ranged(values(after, 'pearson_answer'))}.",
    ]


def efficient(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Tell of the fifth claim."""
    lines = []
    for kind in ("epochs1-buffer10", "epochs2-buffer10", "epochs1-buffer00"):
        after = group(found, data, kind)
        shares = [x for cell in after if (x := share(cell)) is not None]
        seconds = ranged((cell["seconds"] for cell in after if "seconds" in cell), ".1f")

        def cheap(cell: cells.Cell) -> bool:
            return (x := share(cell)) is not None and x <= CHEAP

        lines.append(
            f"{SETTINGS[kind]}: {holds(after, cheap)}; {ranged(shares)} of the image gradients of "
            f"retraining, {seconds} seconds."
        )
    return lines


CLAIMS = {
    "Disrupts the forget set": (
        f"holds where accuracy on forgotten and on unseen images of the class is {GONE} at most",
        disrupts,
    ),
    "No extensive retention of data": (
        f"holds where test accuracy of what stays falls by {FALL} at most",
        retention,
    ),
    "One to two epochs": (
        f"holds where both: forget accuracy {GONE} at most, a fall of {FALL} at most",
        quick,
    ),
    "Attention refocused": (
        f"holds where {LEFT} of the evidence is left at most, and the map of the class answered "
        "now overlaps the original's less than midway between an unmoved map and random weights "
        "(their highest overlap of any class)",
        refocused,
    ),
    "Efficient": (
        f"holds where image gradients are at most {CHEAP} of those of a retraining with as many "
        "epochs as the original had",
        efficient,
    ),
}


def by_setting(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Return mean and range over classes of every setting."""
    lines = [f"| setting | {' | '.join(SHOWN.values())} |", f"|---|{'---|' * len(SHOWN)}"]
    for kind, told in {"original": "before", **SETTINGS}.items():
        some = group(found, data, kind)
        lines.append(f"| {told} | {' | '.join(ranged(values(some, x), '.2f') for x in SHOWN)} |")
    return [*lines, ""]


def by_class(found: dict[str, cells.Cell], data: str) -> list[str]:
    """Return every cell."""
    lines = [
        f"| class | setting | {' | '.join(SHOWN.values())} | worst attack | seconds | gradients |",
        f"|---|---|{'---|' * len(SHOWN)}---|---|---|",
    ]
    for number in range(10):
        for kind, told in {"original": "before", **SETTINGS}.items():
            if (cell := found.get(f"{data}-class{number}-{kind}")) is None:
                continue
            if "failed" in cell:
                lines.append(f"| {cell['title']} | {told} | failed: {cell['failed']} |")
                continue
            told_values = ["" if (x := value(cell, name)) is None else f"{x:.3f}" for name in SHOWN]
            names = ("membership_auc", *(f"membership_auc/{x}" for x in ATTACKS))
            areas = [x for name in names if (x := value(cell, name)) is not None]
            worst = f"{max(areas, key=lambda x: abs(x - 0.5)):.3f}" if areas else ""
            spent = [
                f"{cell['seconds']:.1f}" if "seconds" in cell else "",
                f"{cell['image_gradients']:,.0f}" if "image_gradients" in cell else "",
            ]
            words = " | ".join([*told_values, worst, *spent])
            lines.append(f"| {cell['title']} | {told} | {words} |")
    return [*lines, ""]


def measured(found: dict[str, cells.Cell]) -> list[str]:
    """Return the data sets of which there is something to show."""
    return [data for data in DATA if group(found, data, "original") and group(found, data, FIRST)]


def page(found: dict[str, cells.Cell]) -> str:
    """Return the page for readers."""
    lines = [
        "# The plain reconstruction, reproduced",
        "",
        "Made by `make reproduce` (`verify/reproduce.py`); the figures with their intervals are in",
        "`evidence/reproduction/`. ResNet18, method `snu` with the package's defaults and without",
        "a guard, every class unlearned alone, seed 0. Figures are mean and range over classes.",
        "What is public of the method is its abstract ([methods/snu.md](methods/snu.md)): the",
        "claims below are its words, the formula and these figures are ours.",
        "",
    ]
    shown = measured(found)
    if not shown:
        return "\n".join([*lines, "Not measured.", ""])
    for data in shown:
        n = group(found, data, "original")[0]["n"]
        lines.append(
            f"n of {DATA[data]}: {len(group(found, data, FIRST))} classes; of each, up to "
            f"{n['forget']:,} forgotten, {n['retain']:,} that stay, {n['unseen']:,} unseen of the "
            f"class and {n['test']:,} other test images; maps of {n['maps']:,} forgotten images."
        )
    lines += [f"{title}: not measured yet." for data, title in DATA.items() if data not in shown]
    for claim, (rule, tell) in CLAIMS.items():
        lines += ["", f"## {claim}", "", f"It {rule}.", ""]
        for data in shown:
            lines += [f"- {DATA[data]}: {line}" for line in tell(found, data)]
    lines += [
        "",
        "## Where it looks",
        "",
        "![Mean Grad-CAM maps of forgotten images](images/reproduction.svg)",
        "",
        f"Mean maps over the forgotten images of every class, {SETTINGS[FIRST]}: of the true class",
        "before and after, and of the class answered after. Each class has one scale, the",
        "original's: dark is much evidence, white is none, and more than its most is as dark.",
    ]
    for data in shown:
        lines += ["", f"## {DATA[data]}", "", *by_setting(found, data), *by_class(found, data)]
        lines.pop()
    return "\n".join([*lines, "", f"Machine: {cells.machines(found.values())}.", ""])


SIDE, GAP, HEAD = 56, 8, 96  # pixels of a map, between maps, of the words at its left


def picture(found: dict[str, cells.Cell]) -> str:
    """Return the mean maps as SVG: a column for each class, three rows for each data set shown."""
    kinds = (("before", "original", "true"), ("after", FIRST, "true"), ("answer", FIRST, "answer"))
    squares: list[str] = []
    top = GAP
    for data in measured(found):
        squares.append(f'<text x="4" y="{top + 14}" font-weight="bold">{DATA[data]}</text>')
        top += 22
        for told, kind, which in kinds:
            squares.append(f'<text x="4" y="{top + SIDE // 2}">{told}</text>')
            for number in range(10):
                cell = found.get(f"{data}-class{number}-{kind}")
                first = found.get(f"{data}-class{number}-original")
                if cell and first and "maps" in cell:
                    most = max(max(row) for row in first["maps"]["true"]) or 1.0
                    left = HEAD + number * (SIDE + GAP)
                    squares += _map(cell["maps"][which], most, left, top)
            top += SIDE + GAP
        for number in range(10):
            if cell := found.get(f"{data}-class{number}-original"):
                place = f'x="{HEAD + number * (SIDE + GAP) + SIDE // 2}" y="{top + 8}"'
                squares.append(f'<text {place} text-anchor="middle">{cell["title"]}</text>')
        top += 24
    width = HEAD + 10 * (SIDE + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" '
        f'height="{top}" font-family="system-ui, sans-serif" font-size="11" fill="#1c1c1c">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(squares) + "\n</svg>\n"
    )


def _map(rows: list[list[float]], most: float, left: int, top: int) -> list[str]:
    """Draw one map of any size as squares of grey."""
    step = SIDE / len(rows)
    drawn = [f'<rect x="{left}" y="{top}" width="{SIDE}" height="{SIDE}" fill="#fff"/>']
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            grey = 255 - round(225 * min(max(x / most, 0.0), 1.0))
            if grey < 255:
                place = f'x="{left + j * step:g}" y="{top + i * step:g}"'
                size = f'width="{step:g}" height="{step:g}"'
                drawn.append(f'<rect {place} {size} fill="#{grey:02x}{grey:02x}{grey:02x}"/>')
    edge = f'x="{left}" y="{top}" width="{SIDE}" height="{SIDE}"'
    return [*drawn, f'<rect {edge} fill="none" stroke="#999"/>']

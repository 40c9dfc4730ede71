"""What the cells of the ablation say: their table, and which goals each one meets."""

from typing import Any

import cells

BEGIN, END = "<!-- make ablation -->\n", "<!-- end of make ablation -->\n"
QUARTER, LOST, BELOW, WORST, MEAN = 0.25, 0.002, 0.005, 0.02, 0.012
GOALS = {  # by column: what a model has to show, in words
    "retain": f"at least the original's - {LOST}",
    "test": f"at least the retrained model's - {BELOW}",
    "AUC worst": f"at most {WORST}",
    "AUC mean": f"at most {MEAN}",
    "probe": "at most a quarter of the way from retrained to original",
    "few-shot": "at most a quarter of the way from retrained to original",
    "restored": "at most a quarter of the way from retrained to original",
}
MEASURED = {
    "retain": "retain_accuracy",
    "test": "test_accuracy",
    "probe": "probe_recall",
    "few-shot": "few_shot_recall",
    "restored": "relearn_recall_restored",
    "relearned": "relearn_recall",
    "JS": "js_distance",
}
COLUMNS = (*GOALS, "relearned", "JS")


def figures(cell: cells.Cell, retrained: cells.Cell) -> dict[str, float | None]:
    """Return the figures of a row; AUC as distances to the retrained model's, over the attacks."""
    measured = cell["measured"]
    ours, theirs = measured["membership_auc"], retrained["measured"]["membership_auc"]
    gaps = [abs(ours[name] - theirs[name]) for name in theirs]
    found = {column: measured.get(name) for column, name in MEASURED.items()}
    return found | {"AUC worst": max(gaps), "AUC mean": cells.mean(gaps)}


def bounds(original: cells.Cell, retrained: cells.Cell) -> dict[str, float]:
    """Return by column the figure that just meets the goal."""
    before, again = (figures(each, retrained) for each in (original, retrained))
    found = {"AUC worst": WORST, "AUC mean": MEAN}
    found |= {"retain": before["retain"] - LOST, "test": again["test"] - BELOW}
    for column in ("probe", "few-shot", "restored"):
        found[column] = again[column] + QUARTER * (before[column] - again[column])
    return {column: found[column] for column in GOALS}


def met(row: dict[str, float | None], bound: dict[str, float]) -> list[str]:
    """Return the goals that a row meets."""
    found = []
    for column, limit in bound.items():
        value = row[column]
        at_least = column in ("retain", "test")
        if value is not None and (value >= limit if at_least else value <= limit):
            found.append(column)
    return found


def judged(found: dict[str, cells.Cell], name: str) -> list[str]:
    """Return the goals that a cell meets."""
    looked = found[name]["setting"]["looked"]
    original, retrained = (found[f"{model}-{looked}"] for model in ("original", "retrained"))
    return met(figures(found[name], retrained), bounds(original, retrained))


def table(grid: dict[str, Any], found: dict[str, cells.Cell]) -> str:
    """Return the tables of all cells that there are, group by group."""
    lines = []
    for looked, size in grid["looked"].items():
        lines += _given(found, looked, size)
    for key, group in grid["groups"].items():
        own = [n for n, cell in grid["cells"].items() if cell["group"] == key and n in found]
        if own:
            lines += [f"### {group['title']}", "", f"Expected: {group['hypothesis']}", ""]
            lines += [*_head(("image gradients", "met")), *(_row(grid, found, n) for n in own), ""]
    return "\n".join([*lines, *_counts(grid, found), ""])


def _given(found: dict[str, cells.Cell], looked: str, size: dict[str, int]) -> list[str]:
    """Return the rows of the two given models, and the goals that follow from them."""
    original, retrained = (found[f"{model}-{looked}"] for model in ("original", "retrained"))
    limits = bounds(original, retrained)
    every = {1: "all test images", 2: "every second test image"}[size["every"]]
    lines = [
        f"`{looked}`: {size['forget']:,} forgotten and {size['retain']:,} retained training "
        f"images, {every} that stay{'s' * (size['every'] > 1)}.",
        "",
        *_head(()),
    ]
    for title, cell in (("original", original), ("retrained", retrained)):
        row = figures(cell, retrained)
        lines.append(_line(title, "", [_number(row[column]) for column in COLUMNS]))
    signs = {column: "≥" if column in ("retain", "test") else "≤" for column in limits}
    told = [f"{signs[column]} {limit:.3f}" for column, limit in limits.items()]
    return [*lines, _line("goal", "", [*told, "", ""]), ""]


def _head(more: tuple[str, ...]) -> list[str]:
    columns = ("cell", "what", *COLUMNS, *more)
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _row(grid: dict[str, Any], found: dict[str, cells.Cell], name: str) -> str:
    cell = found[name]
    row = figures(cell, found[f"retrained-{cell['setting']['looked']}"])
    good = judged(found, name)
    numbers = [
        f"**{_number(row[column])}**" if column in good else _number(row[column])
        for column in COLUMNS
    ]
    spent = f"{cell['image_gradients']:,.0f}"
    return _line(
        name, grid["cells"][name]["why"], [*numbers, spent, f"{len(good)} of {len(GOALS)}"]
    )


def _line(name: str, what: str, values: list[str]) -> str:
    return f"| {' | '.join([name, what, *values])} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _counts(grid: dict[str, Any], found: dict[str, cells.Cell]) -> list[str]:
    """Say how many cells meet each goal, and which meet the most."""
    each = {name: judged(found, name) for name in grid["cells"] if name in found}
    if not each:
        return []
    most = max(len(good) for good in each.values())
    best = [name for name, good in each.items() if len(good) == most]
    forgot = max(found[name]["measured"]["forget_accuracy"] for name in each)
    lines = ["### Goals", "", "| goal | what | met by |", "|---|---|---|"]
    for goal, words in GOALS.items():
        n = sum(goal in good for good in each.values())
        lines.append(f"| {goal} | {words} | {n} of {len(each)} |")
    return [
        *lines,
        "",
        f"Most goals at once: {most} of {len(GOALS)}, by {', '.join(f'`{x}`' for x in best)}. "
        f"Forget accuracy is at most {forgot:.3f} in every cell.",
    ]


def page(text: str, grid: dict[str, Any], found: dict[str, cells.Cell]) -> str:
    """Return the text of the page with its tables made anew."""
    start, rest = text.split(BEGIN)
    _, end = rest.split(END)
    return start + BEGIN + table(grid, found) + END + end

"""The block of a grid in docs/benchmarks.md: what was measured, how to read it, the tables."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unsee.benchmark._recipe import pasted
from unsee.benchmark._results import CONTROLS, Asked, Record, is_unsuited, picture_file
from unsee.benchmark._rows import machine_of, tables
from unsee.benchmark._table import as_markdown
from unsee.errors import OptionError

TIED = (
    "Means over n seeds, ± half of Student's 95 % interval; of one seed, the ends of the interval "
    "over its images. JS: mean Jensen-Shannon distance to the retrained model's answers on "
    "forgotten images (root of nats, at most 0.833). AUC: of the loss attack; 0.5 is chance, and "
    "what lies below it a leak, too. AUC gap: how far it is from the retrained model's. "
    "**best**: the smallest JS of the methods that finished every seed; best and tied together "
    "hold the truly nearest method with 95 % confidence: who is left out is farther than some "
    "other by a paired t test over seeds (of one seed: over its images), "
    "one-sided and adjusted by Bonferroni; of two seeds nothing can be told. Controls are not "
    "ranked."
)


def page_block(
    results: Path, page: Path, records: Sequence[Record], asked: Asked | None = None
) -> str:
    """Return what a page says of a grid: the command, machines, seeds, tuning, and the tables.

    Args:
        results: the folder of the records, as a reader of the page would give it.
        page: the file, which links the pictures that lie there.
        records: of cells.
        asked: what the grid asks for.

    """
    wanted = {x["name"] for x in asked.cells} if asked else {r["cell"]["name"] for r in records}
    there = len(wanted & {r["cell"]["name"] for r in records})
    counts = f"{there} cells" if there == len(wanted) else f"{there} of {len(wanted)} cells"
    if stray := len(records) - there:
        counts += f" and {stray} that the grid does not ask for"
    done = [record for record in records if not record["failed"]]
    unsuited = sum(is_unsuited(record["failed"]) for record in records)
    not_asked = f" and {unsuited} were not asked (methods for whole classes alone)"
    lost = f"{len(records) - len(done) - unsuited} failed{not_asked if unsuited else ''}"
    seeds = sorted({record["cell"]["seed"] for record in records})
    lines = [
        f"Made by `unsee bench run {_grid_of(results)}` and `unsee bench table {results} "
        f"--page {page}`: {counts}, of which {lost}; seeds {', '.join(map(str, seeds))}.",
        "",
        *(f"* {sentence}" for sentence in (*_machines(done), *_terms(done))),
        "",
        as_markdown(records, asked),
        "",
        *_pictures(results, page, tables(records, asked)),
        TIED,
        "",
        f"Every cell as a line to paste: `unsee bench recipe {results} CELL`. One of them is "
        f"`{_example(done)}`.",
    ]
    return "\n".join(lines)


def _grid_of(results: Path) -> str:
    """Name the grid of a folder of results: where ``unsee bench run`` puts them, or anywhere."""
    usual = results.parent.name == "results"
    return str((results.parents[1] if usual else Path()) / f"{results.resolve().name}.toml")


def _pictures(results: Path, page: Path, rules: Iterable[tuple[str, str]]) -> list[str]:
    """Show what ``unsee bench plot`` has drawn beside the results."""
    lines = []
    for data, rule in sorted(rules):
        file = results / picture_file(data, rule)
        if file.exists():
            place = Path(os.path.relpath(file, page.parent)).as_posix()
            lines += [f"![{data}, {rule}: distance to retraining and its price]({place})", ""]
    return lines


def _machines(records: Sequence[Record]) -> list[str]:
    """Say what measured the cells; where machines differ, which of them measured which cells."""
    made: dict[str, list[Record]] = {}
    for record in records:
        x = record["environment"]
        words = (
            f"{machine_of(record)}; torch {x['torch']}, Python {x['python']}, unsee {x['unsee']}"
        )
        made.setdefault(words, []).append(record)
    if len(made) < 2:
        return [f"Machine: {words}." for words in made]
    most, *others = sorted(made, key=lambda words: (-len(made[words]), words))
    return [
        f"Machine: {most}; it measured all cells that stand in no other line.",
        *(f"Machine: {words}; it measured {_named(made[words])}." for words in others),
        "Seconds compare within a machine alone; where a row has cells of several, they are of the "
        "one that measured most of them.",
    ]


def _named(records: Sequence[Record]) -> str:
    """Name cells by rule, method and seed, as briefly as that goes."""
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for cell in (record["cell"] for record in records):
        place = (cell["data"], cell["forget"], cell["method"])
        seeds.setdefault(place, []).append(str(cell["seed"]))
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (data, rule, method), of in seeds.items():
        alike.setdefault((data, rule, ", ".join(sorted(of, key=int))), []).append(f"`{method}`")
    return "; ".join(
        f"{data}, {rule}, seed{'s' * (',' in of)} {of}: {', '.join(methods)}"
        for (data, rule, of), methods in sorted(alike.items())
    )


def _terms(records: Sequence[Record]) -> list[str]:
    """Say under which budget and by what tuning methods were measured; controls have neither."""
    if all(r["cell"]["method"] in CONTROLS for r in records):
        return []
    budgets = {r["budget"]["budget"] for r in records if r.get("budget")}
    found = [
        f"Budget: at most {budget:,} image gradients for every method that trains; how long that "
        "is stands in its recipe."
        for budget in sorted(budgets)
    ] or ["No budget: every method trains for as long as its defaults or the grid say."]
    if standing := sum(bool(r.get("stands")) for r in records):
        found.append(
            "Made by code before the last changes, and standing for today's: "
            f"{standing} of the cells; of each of their methods cells were measured again by "
            "lot, and came out alike (`unsee bench check --accept`; `stands` in their files)."
        )
    tuned = sorted({(r["tuned"]["on"], len(r["tuned"]["trials"])) for r in records if r["tuned"]})
    found += [
        f"Tuned on {on} with seed 0: {trials} settings of every method that has some, on images to "
        f"forget and on validation images, which no cell audits{_searched(records)}."
        for on, trials in tuned
    ]
    inside = sorted({r["tried"] for r in records if r["tried"]})
    found += [
        f"Tuned in each cell, on half of the test images: {trials} settings; seconds and gradients "
        "are those of all of them."
        for trials in inside
    ]
    if not tuned and not inside:
        found.append("Nothing was tuned here: options are the methods' defaults or the grid's.")
    return found


def _searched(records: Sequence[Record]) -> str:
    """Say what searches have spent, of which the tables count nothing."""
    trials = [r["tuned"]["trials"] for r in records if r["tuned"]]
    spent = [sum(x.get("image_gradients") or 0 for x in each) for each in trials]
    if not any(spent):
        return ""
    return (
        f"; a search has spent {min(spent):,.0f} to {max(spent):,.0f} image gradients, which the "
        "tables do not count"
    )


def _example(records: Sequence[Record]) -> str:
    return pasted(records[0]) if records else "none: no cell has finished"


def into_page(path: Path, grid: str, block: str) -> str:
    """Return the text of a page with a grid's block between its markers.

    Raises:
        OptionError: if the page has no such markers.

    """
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- bench {grid} -->", f"<!-- end of bench {grid} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise OptionError(f"Expected one {begin} and one {end} below it in {path}, got otherwise")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", text)

"""What the measurements of speed, growth and memory share: one JSON file each, and one page.

A file of results holds its cells by name, each with the digest of the sources that decide it, so
that a stopped script goes on where it was.  ``docs/performance.md`` quotes each file between two
marks; what stands outside them is written by hand.
"""

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from cells import Cell, place, rounded

from unsee.accounting import environment
from unsee.folder import write

if TYPE_CHECKING:  # a process that is measured loads no matplotlib
    from unsee.reporting._svg import Picture

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
EVIDENCE = ROOT / "docs" / "evidence"
IMAGES = ROOT / "docs" / "images"
Cells = dict[str, Cell]


def command(
    doc: str | None,
    section: str,
    digests: dict[str, str],
    make: Callable[[str, bool], Cell],
    lines: Callable[[Cells], list[str]],
    *,
    pictures: Callable[[Cells], dict[str, "Picture"]] | None = None,
    parent: argparse.ArgumentParser | None = None,
    device: torch.device | None = None,
    able: Callable[[str], bool] = lambda name: True,
) -> None:
    """Measure the cells that are asked for and not up to date; write the page and its pictures.

    With ``--tiny`` everything is as small as it can be, to see that it works: the numbers mean
    nothing, so they are printed and no file is written.

    Args:
        doc: says what the script does.
        section: of the page, and name of the file.
        digests: of the sources that decide each cell, by name and in order.
        make: what a cell says, by its name and whether it is to be tiny.
        lines: of the page, from the cells that are there.
        pictures: that the page shows, by the names of their files in docs/images.
        parent: a parser with flags of the script's own.
        device: that is measured; None: the CPU.
        able: says of which cells this machine can make; the others stay as they are.

    """
    parser = argparse.ArgumentParser(description=doc, parents=[parent] if parent else [])
    parser.add_argument("cells", nargs="*", help="beginnings of the names of cells; none: all")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--tiny", action="store_true", help="see that it works; write nothing")
    asked = parser.parse_args()
    can = [*filter(able, digests)]
    names = [n for n in can if not asked.cells or n.startswith((*asked.cells,))]
    if not names:
        raise SystemExit(f"Expected beginnings of names such as {can[:3]}")
    known = measured(section)
    if asked.tiny:
        made = {name: rounded(make(name, True)) for name in names}
        print("\n".join([json.dumps(made, indent=1), *lines(made)]))
        return
    for number, name in enumerate(() if asked.page else names, 1):
        told = f"{number} of {len(names)}: {name}"
        if known.get(name, {}).get("sources") == digests[name]:
            print(f"{told}: up to date", file=sys.stderr)
            continue
        known[name] = rounded(
            {"sources": digests[name], "machine": machine(device), **make(name, False)}
        )
        ordered = {cell: known[cell] for cell in digests if cell in known}
        write(_file(section), (json.dumps(ordered, indent=1, sort_keys=True) + "\n").encode())
        print(f"{told}: done", file=sys.stderr)
    known = {name: known[name] for name in digests if name in known}
    for name, picture in (pictures(known) if pictures else {}).items():
        write(IMAGES / name, picture.file().encode())
    publish(section, of_section(section, known, lines))


def of_section(section: str, known: Cells, lines: Callable[[Cells], list[str]]) -> list[str]:
    """Return the lines of a section."""
    if not known:
        return [f"Not measured yet: `make bench-{section}`."]
    return [*lines(known), *ceilings(known)]


def ceilings(known: Cells) -> list[str]:
    """Say, where it was measured, how far ahead of the usual nothing but the bare step can be."""
    pairs = {name: cell.get("rates", {}) for name, cell in known.items()}
    found = []
    for name, rates in pairs.items():
        if {"bare", "usual"} <= rates.keys():
            each = zip(rates["bare"]["each"], rates["usual"]["each"], strict=True)
            x = spread([bare / usual for bare, usual in each])
            words = f"{x['median']:.2f} ({x['low']:.2f} to {x['high']:.2f})"
            found.append(f"{name.replace('-', ', ')} {words}")
    return ["", f"The bare step itself, over the usual: {'; '.join(found)}."] if found else []


def measured(section: str) -> Cells:
    """Return the cells of a file, sorted by name; none where there is no file."""
    file = _file(section)
    return json.loads(file.read_text()) if file.exists() else {}


def _file(section: str) -> Path:
    return EVIDENCE / f"{section}.json"


def publish(section: str, lines: list[str]) -> None:
    """Write one section of the page anew."""
    PAGE.write_text(with_section(PAGE.read_text(), section, lines))


def with_section(text: str, section: str, lines: list[str]) -> str:
    """Return a page with other lines between the marks of a section."""
    first, last = f"<!-- {section} -->", f"<!-- end of {section} -->"
    body = "\n".join([first, "", *lines, "", last])
    found = re.compile(f"{re.escape(first)}.*{re.escape(last)}", re.DOTALL)
    if not found.search(text):
        raise SystemExit(f"Expected the marks {first} and {last} in {PAGE}")
    return found.sub(lambda _: body, text)


def machine(device: torch.device | None = None) -> dict[str, str]:
    """Return what numbers depend on that no source says; by default of the CPU."""
    return {**environment(device or torch.device("cpu")), "kernel": platform.release()}


def machines(found: Cells) -> list[str]:
    """Return a line for each machine and set of versions on which cells were measured."""
    words = [cell["machine"] for cell in found.values() if "machine" in cell]
    each = {
        f"{place(x)}; Python {x['python']}, torch {x['torch']}, "
        f"torchvision {x['torchvision']}, numpy {x['numpy']}, {x['system']}"
        for x in words
    }
    return ["", f"Measured on: {'; '.join(sorted(each)) or 'nothing'}."]


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, least and most of some repetitions, and themselves."""
    return {"median": median(values), "low": min(values), "high": max(values), "each": values}

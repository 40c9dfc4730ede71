"""Delete what the folder of a job keeps of images, and take names and digests out of the rest."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsee.ledger._jobs import RUN

AUDIT, REPORT, FIGURES = "audit.json", "report.html", "figures"
OF_A_RUN = (  # what may name or show images, by their ids, pixels or digests
    *("arrays.npz", "references", "config.json", "stages.json", "events.jsonl", ".lock"),
    "original.safetensors",
)
LEFT_OUT = "(destroyed)"
LISTS = ("gone", "classes")  # of names of classes, in a run's record


def cleaned(folder: Path) -> int:
    """Delete what a job keeps of images, and take their names out of the rest."""
    run = folder / RUN
    if (run / AUDIT).exists():
        _unnamed(run)
    parts = folder.rglob("*.part")  # of files that a killed worker had begun
    return removed([*folder.glob("*.txt"), *parts, *(run / name for name in OF_A_RUN)])


def _unnamed(run: Path) -> None:
    """Take the digest of the ids out of audit and report, and the names of classes that went.

    Where a class went, the report is drawn anew: its name may be any word, and may not be replaced
    wherever it stands.
    """
    from unsee.folder import write

    before = (run / AUDIT).read_text()
    record = json.loads(before)
    forget = record.get("forget", {})
    digest, rule = str(forget.get("ids_digest") or LEFT_OUT), str(forget.get("rule"))
    named = [str(name) for name in forget.get("gone") or () if LEFT_OUT not in str(name)]
    new = [LEFT_OUT if len(named) == 1 else f"{LEFT_OUT} {n + 1}" for n in range(len(named))]
    record = without_names(record, dict(zip(named, new, strict=True)))
    text = json.dumps(record, indent=1, sort_keys=True).replace(digest, LEFT_OUT)
    if named and rule.startswith("class="):
        text = text.replace(json.dumps(rule)[1:-1], f"class={', '.join(new)}")
    if (run / REPORT).exists() and named:
        _drawn_anew(run, text)
    elif (run / REPORT).exists():
        content = (run / REPORT).read_bytes()
        write(run / REPORT, content.replace(digest.encode(), LEFT_OUT.encode()))
    if text != before:  # last: where the names still stand here, a next purge goes on
        write(run / AUDIT, text.encode())


def _drawn_anew(run: Path, text: str) -> None:
    """Draw report and figures anew, of this audit and of the arrays that go."""
    from unsee.errors import RunError
    from unsee.folder import load_run, write
    from unsee.nouns import Run
    from unsee.reporting import figures, page, pictures_of

    try:
        arrays = load_run(run).arrays
    except RunError:  # damaged: the report does without their pictures
        arrays = {}
    done = Run.from_json(text, arrays)
    drawn = pictures_of(done)
    removed([run / FIGURES])
    for name, picture in figures(done, drawn).items():
        write(run / FIGURES / f"{name}.svg", picture.encode())
    write(run / REPORT, page(done, drawn).encode())


def without_names(record: Any, names: dict[str, str], within: str = "") -> Any:
    """Return a record, or a part of it, with other names for some classes.

    A class is named by the end of a measurement's name, in the lists of classes, and between
    quotation marks in sentences.

    >>> without_names({"test_accuracy/anna": 1, "notes": ["few of 'anna'"]}, {"anna": "x"})
    {'test_accuracy/x': 1, 'notes': ["few of 'x'"]}

    """
    if isinstance(record, dict):
        return {_key(key, names): without_names(value, names, key) for key, value in record.items()}
    if isinstance(record, list):
        return [without_names(value, names, within) for value in record]
    if not isinstance(record, str):
        return record
    if within in LISTS:
        return names.get(record, record)
    for name, new in names.items():
        for before, after in ("''", '""', "“”"):
            record = record.replace(f"{before}{name}{after}", f"{before}{new}{after}")
    return record


def _key(key: str, names: dict[str, str]) -> str:
    found = next((name for name in names if key.endswith(f"/{name}")), None)
    return key if found is None else key.removesuffix(found) + names[found]


def removed(paths: Iterable[Path]) -> int:
    """Delete files and folders that are there, and return how many files that were."""
    count = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            count += sum(not inner.is_dir() for inner in path.rglob("*"))
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            count += 1
            path.unlink()
    return count

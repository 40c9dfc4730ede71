"""Delete what the folder of a job keeps of images, and take names and digests out of the rest."""

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from unsee.ledger._jobs import EARLIER, RUN
from unsee.unnamed import LEFT_OUT, unnamed

AUDIT, REPORT, FIGURES = "audit.json", "report.html", "figures"
OF_A_RUN = (  # what may name or show images, by their ids, pixels or digests
    *("arrays.npz", "references", "config.json", "stages.json", "events.jsonl", ".lock"),
    "original.safetensors",
)


def cleaned(folder: Path) -> int:
    """Delete what a job keeps of images, and take their names out of the rest."""
    run = folder / RUN
    if (run / AUDIT).exists():
        _unnamed(run)
    parts = folder.rglob("*.part")  # of files that a killed worker had begun
    return removed([*folder.glob("*.txt"), *parts, *(run / name for name in OF_A_RUN)])


def without_earlier(folder: Path) -> bool:
    """Take rules of requests before out of a job's settings, and return whether any stood there.

    Which was whose is not told there, and nobody needs any: a job that has ended does not go on.
    """
    from unsee.folder import CONFIG, write

    path = folder / RUN / CONFIG
    if not path.exists():
        return False
    words = json.loads(path.read_text())
    known, earlier = words.get("digests", {}), words.get("earlier", [])
    left = {key: x for key, x in known.items() if f"/{EARLIER}" not in key}
    told = [LEFT_OUT] * len(earlier)
    if (told, left) == (earlier, known):
        return False
    write(path, json.dumps(words | {"earlier": told, "digests": left}, indent=1).encode())
    return True


def _unnamed(run: Path) -> None:
    """Take the digest of the ids out of audit and report, and the names of classes that went.

    Where a class went, the report is drawn anew: its name may be any word, and may not be replaced
    wherever it stands.
    """
    from unsee.folder import write

    before = (run / AUDIT).read_text()
    left = unnamed(before)
    text, digest = left.text, left.digest
    if (run / REPORT).exists() and left.named:
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


def removed(paths: Iterable[Path]) -> int:
    """Delete files and folders that are there, and return how many files that were."""
    count = 0
    for path in paths:
        with suppress(FileNotFoundError):  # another purge was there first
            if path.is_dir() and not path.is_symlink():
                count += sum(not inner.is_dir() for inner in path.rglob("*"))
                while path.exists():
                    with suppress(FileNotFoundError):
                        shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                path.unlink()
                count += 1
    return count

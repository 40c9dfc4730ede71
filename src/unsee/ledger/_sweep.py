"""Delete what the folder of a job keeps of images, and take names and digests out of the rest."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from unsee.ledger._jobs import RUN

AUDIT, REPORT = "audit.json", "report.html"
OF_A_RUN = (  # what may name or show images, by their ids, pixels or digests
    *("arrays.npz", "references", "config.json", "stages.json", "events.jsonl", ".lock"),
    "original.safetensors",
)
LEFT_OUT = "(destroyed)"


def cleaned(folder: Path) -> int:
    """Delete what a job keeps of images, and take the digest of their ids out of the rest."""
    run = folder / RUN
    parts = folder.rglob("*.part")  # of files that a killed worker had begun
    count = removed([*folder.glob("*.txt"), *parts, *(run / name for name in OF_A_RUN)])
    audit = run / AUDIT
    if audit.exists():
        from unsee.folder import write

        record = json.loads(audit.read_text())
        digest = record.get("forget", {}).get("ids_digest")
        pages = [path for path in (audit, run / REPORT) if digest and path.exists()]
        for path in pages:
            content = path.read_bytes().replace(str(digest).encode(), LEFT_OUT.encode())
            write(path, content)
    return count


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

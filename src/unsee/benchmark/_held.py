"""What files hold, wherever they lie: of a cell's checkpoints, images, lists and modules."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from unsee.data import SPOILED
from unsee.folder import digest


def held(path: Path) -> str:
    """Return a digest of what a file holds, or a folder of checkpoints."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    found = [_of(file) for file in files]
    return found[0] if files == [path] else hashlib.sha256("".join(found).encode()).hexdigest()


def held_by_source(source: str) -> str | None:
    """Return a digest of all files of a data source; None: it has none, or they are not there.

    Names below the source's own folder count, since they decide labels and order; so does what
    spoils it on the way.
    """
    kind, _, place = source.partition(":")
    if kind in SPOILED:
        words = f"{kind}\n{held_by_source(place) or place}"
        return hashlib.sha256(words.encode()).hexdigest()
    path = Path(place)
    if not place or not path.exists():
        return None
    if path.is_file():
        return _of(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            total.update(f"{file.relative_to(path).as_posix()}\n{_of(file)}\n".encode())
    return total.hexdigest()


def held_by_module(arch: str | None) -> str | None:
    """Return a digest of the file of an architecture of one's own; None: it is none."""
    module, colon, _ = (arch or "").partition(":")
    if not colon or module in ("resnet18", "timm"):
        return None
    beside = Path(*module.split(".")).with_suffix(".py")  # modules of the current directory
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    file = Path(spec.origin) if spec and spec.origin else beside
    return _of(file) if file.is_file() else None


def _of(file: Path) -> str:
    return _digest(file, file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _digest(file: Path, changed: int, size: int) -> str:
    """Return a file's digest, computed once for every state of the file."""
    return digest(file)

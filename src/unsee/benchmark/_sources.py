"""A digest of the code that decides a cell; comments, docstrings and layout do not count."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from unsee.methods import Method, find, own_file

ROOT = Path(__file__).parents[1]
DECIDE = (  # what all methods share
    *("functional", "data", "models", "training.py", "explanation", "audits", "accounting.py"),
    *("auditing.py", "draws.py", "erasure.py", "guarding.py", "preparation.py", "tuning.py"),
    *("units.py", "nouns/_data.py", "nouns/_run.py", "nouns/_view.py", "buffers"),
    *("methods/_method.py", "methods/_retrain.py", "benchmark/_budget.py"),
)


def digest_of_sources(name: str | Method) -> str:
    """Return a SHA-256 over the code that can change a number of this method.

    The file of a method of one's own is not part of it: its digest is in what the cell asks.
    """
    total = hashlib.sha256(_shared().encode())
    if own_file(name) is None:
        for file in sorted(built_from(f"_{find(name).name}.py")):
            total.update(text(ROOT / "methods" / file))
    return total.hexdigest()


def code(text: str) -> str:
    """Return a module's syntax tree as text, without its docstrings."""
    return ast.dump(_plain(text))


def _plain(text: str) -> ast.Module:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return tree


@cache
def _shared() -> str:
    return str(hashed(DECIDE).hexdigest())


def hashed(names: Iterable[str]) -> Any:
    """Return a SHA-256 over the code of some files and folders, to which more can be added."""
    total = hashlib.sha256()
    for path in sources(names):
        total.update(text(path))
    return total


def sources(names: Iterable[str]) -> Iterator[Path]:
    """Yield the files of these names below ``unsee``, of folders all that lie in them."""
    for name in names:
        place = ROOT / name
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def built_from(name: str) -> set[str]:
    """Return a file of ``methods`` and those of the same folder that it imports."""
    found: set[str] = set()
    wanted = {name}
    while wanted:
        file = wanted.pop()
        found.add(file)
        imports = (
            x for x in ast.walk(_tree(ROOT / "methods" / file)) if isinstance(x, ast.ImportFrom)
        )
        names = [node.module or "" for node in imports]
        ours = (x.rpartition(".")[2] for x in names if x.startswith("unsee.methods._"))
        wanted |= {f"{x}.py" for x in ours} - found
    return found


def text(path: Path) -> bytes:
    """Return a file's name and the code in it, as digests take it."""
    return f"{path.relative_to(ROOT).as_posix()}\n{ast.dump(_tree(path))}\n".encode()


@cache
def _tree(path: Path) -> ast.Module:
    return _plain(path.read_text())


for _path in sources((*DECIDE, "methods")):  # now: what is edited later is not what runs here
    _tree(_path)

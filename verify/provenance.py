"""The digest of the sources that numbers depend on; comments, docstrings, layout do not count."""

import ast
import hashlib
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "unsee"
DECIDE = (
    *("functional", "data", "models", "training.py", "explanation", "methods", "audits"),
    *("accounting.py", "nouns", "preparation.py", "pipeline.py"),
)


def digest(method: str) -> str:
    """Return a SHA-256 over the code of every file that can change a number of this method."""
    total = hashlib.sha256()
    ours = {f"_{name}.py" for name in ("method", "retrain", method)} | {"__init__.py"}
    for name in DECIDE:
        place = SOURCE / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if name != "methods" or path.name in ours | _imported(method):
                total.update(f"{path.relative_to(SOURCE)}\n{code(path.read_text())}\n".encode())
    return total.hexdigest()


def _imported(method: str) -> set[str]:
    """Return the files of other methods that a method is built from."""
    tree = ast.parse((SOURCE / "methods" / f"_{method}.py").read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {f"{x.rpartition('.')[2]}.py" for x in names if x.startswith("unsee.methods._")}


def code(text: str) -> str:
    """Return a module's syntax tree as text, without its docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return ast.dump(tree)

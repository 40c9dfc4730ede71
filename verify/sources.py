"""The digest of the sources that numbers depend on; comments, docstrings, layout do not count."""

import ast
import hashlib
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "unsee"
DECIDE = (
    *("functional", "data", "models", "training.py", "explanation", "methods", "audits"),
    *("accounting.py", "nouns", "preparation.py", "pipeline.py"),
)


def digest() -> str:
    """Return a SHA-256 over the code of every file that can change a number."""
    total = hashlib.sha256()
    for name in DECIDE:
        place = SOURCE / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{path.relative_to(SOURCE)}\n{code(path.read_text())}\n".encode())
    return total.hexdigest()


def code(text: str) -> str:
    """Return a module's syntax tree as text, without its docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return ast.dump(tree)

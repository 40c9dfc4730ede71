"""The digest of the sources that numbers depend on; comments, docstrings, layout do not count."""

import ast
import hashlib
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "unsee"
CALIBRATED = (  # what the numbers of the verdict's simulation depend on
    *("functional/_distances.py", "functional/_intervals.py", "functional/_membership.py"),
    *("functional/_probes.py", "functional/_ranking.py", "functional/_roc.py"),
    *("audits/_accuracy.py", "audits/_audit.py", "audits/_few_shot.py", "audits/_membership.py"),
    *("audits/_observe.py", "auditing.py", "preparation.py", "units.py", "draws.py", "erasure.py"),
    *("data/_batches.py", "data/_choose.py", "data/_digits.py", "data/_labels.py"),
    *("data/_open.py", "data/_pixels.py", "data/_rules.py", "data/_twins.py", "nouns/_data.py"),
    *("models/_architectures.py", "models/_layers.py", "models/_normalise.py", "training.py"),
    *("methods/_method.py", "methods/_retrain.py", "methods/_head_only.py"),
    "methods/_random_head.py",
)
DECIDE = (
    *("functional", "data", "models", "training.py", "explanation", "methods", "audits"),
    *("accounting.py", "auditing.py", "draws.py", "erasure.py", "guarding.py", "preparation.py"),
    *("units.py", "nouns/_data.py", "nouns/_view.py"),
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


def digest_of_calibration() -> str:
    """Return a SHA-256 over everything that can change what the simulation measures.

    The rules of the verdict are not part of it: they are applied anew to the same numbers.
    """
    total = hashlib.sha256(code((Path(__file__).parent / "calibration.py").read_text()).encode())
    for name in CALIBRATED:
        total.update(f"{name}\n{code((SOURCE / name).read_text())}\n".encode())
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

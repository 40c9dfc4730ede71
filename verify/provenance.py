"""The digest of the sources that numbers depend on; comments, docstrings, layout do not count.

What all methods share changes more often than any number does, and so does what a method is built
from.  Where cells drawn by lot came out the same before and after (``verify/same.py``), both states
of it count as one: SAME has them.
"""

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from unsee.benchmark._sources import (
    ROOT as SOURCE,  # of the package that is imported
    built_from as _own,
    code as code,
    hashed as hashed,
    sources as sources,
    text as text,
)

SAME = Path(__file__).parent.parent / "docs" / "evidence" / "same.json"
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
SHARED_BY_METHODS = {"__init__.py", "_method.py", "_retrain.py"}
REGISTRY = SOURCE / "methods" / "__init__.py"


def of_files(names: tuple[str, ...]) -> str:
    """Return a SHA-256 over the code of some files and folders of the package."""
    return str(hashed(names).hexdigest())


def digest(method: str, common: str = "", alone: str = "") -> str:
    """Return a SHA-256 over the code of every file that can change a number of this method.

    Args:
        method: its name.
        common: the digest of what all methods share; by default the earliest that is the same.
        alone: the digest of its own files; by default the earliest that is the same.

    """
    both = f"{alone or earliest_own(method)} {common or earliest()}"
    return hashlib.sha256(both.encode()).hexdigest()


def own(method: str) -> str:
    """Return a SHA-256 over the code of the files that a method is built from alone."""
    total = hashlib.sha256()
    for name in sorted(_own(f"_{method}.py") - SHARED_BY_METHODS):
        total.update(text(SOURCE / "methods" / name))
    return total.hexdigest()


def earliest_own(method: str) -> str:
    """Return the digest of a method's earliest files by which its numbers come out the same."""
    return _first(own(method), [r.get("methods", {}).get(method, {}) for r in records()])


@cache
def digest_of_common() -> str:
    """Return a SHA-256 over the code of the files on which the numbers of every method depend."""
    total = hashlib.sha256()
    for path in sources(DECIDE):
        if path == REGISTRY:
            total.update(code(unlisted(path.read_text())).encode())
        elif path.parent != SOURCE / "methods" or path.name in SHARED_BY_METHODS:
            total.update(text(path))
    return total.hexdigest()


def unlisted(text: str) -> str:
    """Return a registry without the names that it lists: one more changes no other's numbers."""
    tree = ast.parse(text)
    listed = (ast.Import, ast.ImportFrom)
    tree.body = [node for node in tree.body if not isinstance(node, listed)]
    return ast.unparse(tree)


def records() -> list[dict[str, Any]]:
    """Return which common sources gave the same numbers as others before, the oldest first."""
    return json.loads(SAME.read_text()) if SAME.exists() else []


def earliest() -> str:
    """Return the digest of the earliest common sources by which numbers come out the same."""
    return _first(digest_of_common(), records())


def _first(now: str, pairs: Sequence[Mapping[str, Any]]) -> str:
    """Follow pairs of digests before and after, the oldest first, back from today's."""
    for pair in reversed(pairs):
        now = pair["before"] if pair.get("after") == now else now
    return now


def digest_of_calibration() -> str:
    """Return a SHA-256 over everything that can change what the simulation measures.

    The rules of the verdict are not part of it: they are applied anew to the same numbers.
    """
    total = hashlib.sha256(code((Path(__file__).parent / "calibration.py").read_text()).encode())
    for name in CALIBRATED:
        total.update(f"{name}\n{code((SOURCE / name).read_text())}\n".encode())
    return total.hexdigest()


def earliest_of_calibration() -> str:
    """Return the digest of the earliest sources by which the simulation comes out the same."""
    return _first(digest_of_calibration(), [r.get("calibration", {}) for r in records()])

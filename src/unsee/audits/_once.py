"""Costly findings about one view that an audit needs again when it is asked about another model."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from unsee.nouns import View

Found = TypeVar("Found")
_found: WeakKeyDictionary[View, dict[Hashable, Any]] = WeakKeyDictionary()


def once(view: View, key: Hashable, find: Callable[[], Found]) -> Found:
    """Return what ``find`` returned for this view and ``key`` before; ask it the first time.

    ``key`` has to name everything else that the finding depends on.  It is forgotten with the view.
    """
    kept: dict[Hashable, Found] = _found.setdefault(view, {})
    if key not in kept:
        kept[key] = find()
    return kept[key]

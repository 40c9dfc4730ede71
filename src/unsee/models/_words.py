"""Names out of a file that nobody vouches for: cut and escaped, so that they fit into one line."""

import reprlib

_cut = reprlib.Repr()
_cut.maxstring = _cut.maxother = 100
_cut.maxlist = 5


def told(value: object) -> str:
    """Return ``repr(value)`` with long strings cut and lists of more than five cut short.

    >>> told(["conv1.weight", "bn1.weight", "a", "b", "c", "d"])
    "['conv1.weight', 'bn1.weight', 'a', 'b', 'c', ...]"
    """
    return _cut.repr(value)

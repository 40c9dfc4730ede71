"""Make an image classifier unsee some of its training images, and show what is left of them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unsee.auditing import audit as audit
    from unsee.audits import AUDITS as AUDITS
    from unsee.certificate import certify as certify, verify as verify
    from unsee.data import choose as choose, load as load
    from unsee.erasure import unlearn as unlearn
    from unsee.errors import UnseeError as UnseeError
    from unsee.fleets import oracles as oracles
    from unsee.methods import METHODS as METHODS, method as method
    from unsee.nouns import (
        Config as Config,
        Data as Data,
        Measurement as Measurement,
        Run as Run,
        Split as Split,
    )
    from unsee.pipeline import run as run
    from unsee.reporting import compare as compare, report as report
    from unsee.sequences import sequence as sequence

_MODULES = {
    "audits": ["AUDITS"],
    "certificate": ["certify", "verify"],
    "data": ["choose", "load"],
    "errors": ["UnseeError"],
    "fleets": ["oracles"],
    "methods": ["METHODS", "method"],
    "nouns": ["Config", "Data", "Measurement", "Run", "Split"],
    "auditing": ["audit"],
    "erasure": ["unlearn"],
    "pipeline": ["run"],
    "reporting": ["compare", "report"],
    "sequences": ["sequence"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that ``unsee --help`` needs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'unsee' has no attribute {name!r}")
    return getattr(import_module(f"unsee.{_HOME[name]}"), name)

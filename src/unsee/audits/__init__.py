"""Audits.  To add one: write ``_yours.py`` and re-export it here, in alphabetical order."""

from collections.abc import Iterable

from unsee.audits._accuracy import accuracy as accuracy
from unsee.audits._audit import Audit as Audit, Need as Need, audit as audit
from unsee.audits._distance import distance as distance
from unsee.audits._evidence import evidence as evidence
from unsee.audits._few_shot import few_shot as few_shot
from unsee.audits._membership import membership as membership
from unsee.audits._observe import observe as observe
from unsee.audits._probe import probe as probe
from unsee.audits._recovery import recovery as recovery
from unsee.audits._relearning import relearning as relearning
from unsee.audits._security import security as security
from unsee.audits._stages import stages as stages
from unsee.errors import OptionError

AUDITS: dict[str, Audit] = {name: a for name, a in globals().items() if isinstance(a, Audit)}


def asked(names: Iterable[str]) -> dict[str, Audit]:
    """Return the audits of these names, in the order of AUDITS; all where none is named.

    Raises:
        OptionError: if a name is unknown.

    """
    wanted = {*names}
    if unknown := sorted(wanted - AUDITS.keys()):
        raise OptionError(f"Expected --audits among {[*AUDITS]}, got {unknown}")
    return {name: audit for name, audit in AUDITS.items() if name in wanted or not wanted}

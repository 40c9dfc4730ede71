"""Audits.  To add one: write ``_yours.py`` and re-export it here, in alphabetical order."""

from unsee.audits._accuracy import accuracy as accuracy
from unsee.audits._audit import Audit as Audit, audit as audit
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

AUDITS: dict[str, Audit] = {name: a for name, a in globals().items() if isinstance(a, Audit)}

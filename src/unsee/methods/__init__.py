"""Unlearning methods.  To add one: write ``_yours.py`` and re-export it here, in order."""

from unsee.errors import OptionError
from unsee.methods._bad_teacher import bad_teacher as bad_teacher
from unsee.methods._finetune import finetune as finetune
from unsee.methods._gradient_ascent import gradient_ascent as gradient_ascent
from unsee.methods._head_only import head_only as head_only
from unsee.methods._l1_sparse import l1_sparse as l1_sparse
from unsee.methods._method import (
    GIVEN as GIVEN,
    Factors as Factors,
    Method as Method,
    gone_classes as gone_classes,
    method as method,
)
from unsee.methods._neggrad_plus import neggrad_plus as neggrad_plus
from unsee.methods._noop import noop as noop
from unsee.methods._random_head import random_head as random_head
from unsee.methods._random_labels import random_labels as random_labels
from unsee.methods._retrain import retrain as retrain
from unsee.methods._salun import salun as salun
from unsee.methods._scrub import scrub as scrub
from unsee.methods._snu import snu as snu
from unsee.methods._snu_deep import snu_deep as snu_deep
from unsee.methods._ssd import ssd as ssd
from unsee.methods._unsir import unsir as unsir

METHODS: dict[str, Method] = {name: m for name, m in globals().items() if isinstance(m, Method)}


def find(name: str | Method) -> Method:
    """Return the method of that name, or the method itself.  Raises OptionError."""
    if isinstance(name, Method):
        return name
    if name not in METHODS:
        raise OptionError(f"Expected a method among {list(METHODS)}, got {name!r}")
    return METHODS[name]

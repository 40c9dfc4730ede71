"""Unlearning methods.  To add one: write ``_yours.py`` and re-export it here, in order."""

from unsee.errors import OptionError
from unsee.methods._amun import amun as amun
from unsee.methods._bad_teacher import bad_teacher as bad_teacher
from unsee.methods._boundary_shrink import boundary_shrink as boundary_shrink
from unsee.methods._cf_k import cf_k as cf_k
from unsee.methods._cola import cola as cola
from unsee.methods._convolution_transpose import convolution_transpose as convolution_transpose
from unsee.methods._delete import delete as delete
from unsee.methods._finetune import finetune as finetune
from unsee.methods._gradient_ascent import gradient_ascent as gradient_ascent
from unsee.methods._head_only import head_only as head_only
from unsee.methods._l1_sparse import l1_sparse as l1_sparse
from unsee.methods._lipschitz import lipschitz as lipschitz
from unsee.methods._masked_small_gradients import (
    masked_small_gradients as masked_small_gradients,
)
from unsee.methods._method import (
    GIVEN as GIVEN,
    Factors as Factors,
    Method as Method,
    gone_classes as gone_classes,
    method as method,
)
from unsee.methods._neggrad_plus import neggrad_plus as neggrad_plus
from unsee.methods._noop import noop as noop
from unsee.methods._own import own_digest as own_digest, own_file as own_file, own_method
from unsee.methods._pour import pour as pour
from unsee.methods._random_head import random_head as random_head
from unsee.methods._random_labels import random_labels as random_labels
from unsee.methods._retrain import retrain as retrain
from unsee.methods._salun import salun as salun
from unsee.methods._scrub import scrub as scrub
from unsee.methods._snu import snu as snu
from unsee.methods._snu_deep import snu_deep as snu_deep
from unsee.methods._snu_weights import snu_weights as snu_weights
from unsee.methods._ssd import ssd as ssd
from unsee.methods._unsir import unsir as unsir

METHODS: dict[str, Method] = {name: m for name, m in globals().items() if isinstance(m, Method)}


def find(name: str | Method) -> Method:
    """Return the method of that name or of ``path.py:name``, or the method itself.

    Raises:
        OptionError: if there is none, with what there is.

    """
    if isinstance(name, Method):
        return name
    if not isinstance(name, str):
        raise OptionError(
            f"Expected a method or its name, got {type(name).__name__}: decorate a function with "
            "@unsee.method(title=..., paper=...), or name its file as path.py:name"
        )
    if own_file(name) is not None:
        return own_method(name)
    if name not in METHODS:
        raise OptionError(
            f"Expected a method among {list(METHODS)}, got {name!r}: one of your own is named as "
            "path.py:name"
        )
    return METHODS[name]

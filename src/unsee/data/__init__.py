"""Open data by name, choose what to forget, hand out batches.

To add a source: write ``_yours.py`` with a function ``(place, Options) -> Data`` and name it in
``SOURCES``.
"""

from unsee.data._batches import (
    as_floats as as_floats,
    batches as batches,
    steps_per_epoch as steps_per_epoch,
)
from unsee.data._choose import choose as choose
from unsee.data._open import SOURCES as SOURCES, load as load

"""Open data by name, choose what to forget, hand out batches.

To add a source: write ``_yours.py`` with a function ``(place, Options) -> Data`` and name it in
``SOURCES``.
"""

from unsee.data._arrays import arrays_of as arrays_of
from unsee.data._batches import (
    as_floats as as_floats,
    batches as batches,
    steps_per_epoch as steps_per_epoch,
)
from unsee.data._choose import Validate as Validate, choose as choose, to_forget as to_forget
from unsee.data._earlier import but_those_named as but_those_named, without as without
from unsee.data._join import aligned as aligned, joined as joined
from unsee.data._open import SOURCES as SOURCES, load as load
from unsee.data._sample import with_fewer as with_fewer
from unsee.data._spoiled import (
    SPOILED as SPOILED,
    TRIGGER as TRIGGER,
    triggered as triggered,
)

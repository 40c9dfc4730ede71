"""A Run as one self-contained page, for a reader who was not there.  Needs no torch."""

from unsee.reporting._compare import beside as beside, compare as compare
from unsee.reporting._figures import (
    Pictures as Pictures,
    figures as figures,
    pictures_of as pictures_of,
)
from unsee.reporting._history import (
    history_page as history_page,
    history_picture as history_picture,
)
from unsee.reporting._page import page as page, report as report
from unsee.reporting._redact import is_redacted as is_redacted, redacted as redacted
from unsee.reporting._safety import safety as safety
from unsee.reporting._words import result as result

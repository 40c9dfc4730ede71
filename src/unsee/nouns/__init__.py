"""The words of unsee: small frozen records with no behaviour beyond checking themselves.

Importing them costs no torch: reports, ledgers and tables read a ``Run`` without it.
"""

from typing import TYPE_CHECKING

from unsee.nouns._config import Config as Config
from unsee.nouns._data import PARTS as PARTS, Data as Data, Split as Split
from unsee.nouns._history import (
    History as History,
    Request as Request,
    Standing as Standing,
    measurements as measurements,
    standing as standing,
)
from unsee.nouns._run import (
    STAGES as STAGES,
    STRAY as STRAY,
    Goal as Goal,
    Measurement as Measurement,
    Measurements as Measurements,
    Options as Options,
    Run as Run,
)
from unsee.nouns._view import Maps as Maps, Seen as Seen, Stage as Stage, View as View

if TYPE_CHECKING:
    from unsee.nouns._data import Images as Images

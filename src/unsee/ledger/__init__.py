"""Erasure requests in a database: who asked for what, who did what, and a log that only grows.

Needs SQLAlchemy and alembic: ``pip install 'unsee[ledger]'``; reading a ledger loads no torch.
"""

from unsee.ledger._asked import Asked as Asked, as_it_begins as as_it_begins
from unsee.ledger._chain import Checked as Checked, Entry as Entry
from unsee.ledger._checklist import CHECKLIST as CHECKLIST, SOURCE as SOURCE
from unsee.ledger._ids import (
    clear_left as clear_left,
    ids_file as ids_file,
    without_files as without_files,
)
from unsee.ledger._jobs import RUN as RUN, place_of as place_of
from unsee.ledger._ledger import Ledger as Ledger
from unsee.ledger._line import absolute as absolute
from unsee.ledger._models import Model as Model
from unsee.ledger._purge import Purged as Purged
from unsee.ledger._requests import ErasureRequest as ErasureRequest
from unsee.ledger._states import CLOSED as CLOSED, TRANSITIONS as TRANSITIONS, State as State
from unsee.ledger._terms import (
    Scope as Scope,
    day as day,
    month_after as month_after,
    same as same,
    scope as scope,
    subject as subject,
)
from unsee.ledger._worker import Worker as Worker

"""The web page and its JSON API, over the ledger and the run folders of one machine.

Needs FastAPI and uvicorn: ``pip install 'unsee[web]'``.  Nothing here is reached from outside this
machine unless ``unsee serve`` is told so and given a file of tokens; see docs/web.md.
"""

from unsee.web._access import (
    ROLES as ROLES,
    Access as Access,
    Role as Role,
    Visitor as Visitor,
    fresh as fresh,
    from_file as from_file,
)
from unsee.web._app import application as application
from unsee.web._desk import Desk as Desk
from unsee.web._doors import host_of as host_of
from unsee.web._server import listening as listening, serve as serve
from unsee.web._shelf import Shelf as Shelf

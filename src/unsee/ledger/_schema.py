"""The tables, as the newest migration leaves them; a test compares the two."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

lines = Table(  # an original model and whatever replaces it: what requests are put to
    "lines",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("original", Text, nullable=False),  # canonical JSON: its file, or how it is trained
    Column("job", Integer),  # that works on it now: one run after another
    UniqueConstraint("original", name="lines_original"),
)
requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(128), nullable=False),  # opaque: no name, no hash of one
    Column("line", ForeignKey("lines.id"), nullable=False),
    Column("config", Text, nullable=False),  # canonical JSON: how it is to be served
    Column("received", Date, nullable=False),
    Column("due", Date, nullable=False),
    Column("kind", String(16), nullable=False),  # of the rule
    Column("count", Integer, nullable=False),  # of ids; 1 for a rule in words
    Column("state", String(24), nullable=False, index=True),
    Column("added_by", String(200), nullable=False),
    Column("light", String(16), nullable=False),  # of the audit; empty: there was none yet
    Column("job", Integer, index=True),  # the last one that served it
    Column("alone", Boolean, nullable=False, server_default=false()),  # a batch with it failed
    sqlite_autoincrement=True,  # a number is never given twice
)
scopes = Table(  # emptied when a request closes
    "scopes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", ForeignKey("requests.id"), nullable=False, index=True),
    Column("value", Text, nullable=False),
)
keys = Table(  # of the digests in the log; destroyed when a request closes
    "keys",
    metadata,
    Column("request", ForeignKey("requests.id"), primary_key=True, autoincrement=False),
    Column("key", String(64), nullable=False),
)
checklist = Table(  # what no tool can reach
    "checklist",
    metadata,
    Column("request", ForeignKey("requests.id"), primary_key=True, autoincrement=False),
    Column("item", String(24), primary_key=True),
    Column("answer", String(8), nullable=False),
    CheckConstraint("answer in ('done', 'refused')", name="checklist_answer"),
)
models = Table(  # what replaces what
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("line", ForeignKey("lines.id"), nullable=False, index=True),
    Column("parent", ForeignKey("models.id")),  # NULL: the original
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # in use, superseded, retired
)
jobs = Table(  # one run that serves one request or several
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("line", ForeignKey("lines.id"), nullable=False),
    Column("state", String(16), nullable=False, index=True),  # running, done, failed
    Column("folder", Text, nullable=False),
    Column("worker", String(200), nullable=False),
    Column("token", String(64), nullable=False),  # of the lease: another one may not write
    Column("lease", Float, nullable=False),  # seconds
    Column("until", Float, nullable=False),  # seconds since 1970, by the database's clock
    Column("deaths", Integer, nullable=False),  # of workers that held it
    Column("model", ForeignKey("models.id")),  # that it has made
)
events = Table(  # only ever added to: a trigger refuses the rest
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("request", ForeignKey("requests.id"), index=True),
    Column("at", String(40), nullable=False),
    Column("who", String(200), nullable=False),
    Column("what", String(40), nullable=False),
    Column("why", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
chain = Table(  # one row: the end of the log
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("id = 1", name="chain_one_row"),
)

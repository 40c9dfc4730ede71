"""A Run as one self-contained page, for a reader who was not there.  Needs no torch."""

from unsee.reporting._figures import figures as figures
from unsee.reporting._page import page as page, report as report
from unsee.reporting._redact import redacted as redacted

"""A Run as one self-contained page."""

from unsee.reporting._page import page as page
from unsee.reporting._redact import redacted as redacted

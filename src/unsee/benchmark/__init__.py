"""Grids of data x rules x methods x seeds: measured once, kept cell by cell, put into tables.

What reads results needs no torch; what measures them is in :mod:`unsee.benchmark.running`.
"""

from unsee.benchmark._page import into_page as into_page, page_block as page_block
from unsee.benchmark._picture import pareto as pareto
from unsee.benchmark._recipe import pasted as pasted, recipe as recipe
from unsee.benchmark._results import (
    read_asked as read_asked,
    read_record as read_record,
    read_results as read_results,
)
from unsee.benchmark._rows import tables as tables
from unsee.benchmark._table import as_csv as as_csv, as_markdown as as_markdown, as_text as as_text

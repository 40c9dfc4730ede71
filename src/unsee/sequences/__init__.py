"""Requests one after another on the same model: each is a run, and each run asks about them all."""

from unsee.sequences._serve import Plan as Plan, planned as planned, sequence as sequence
from unsee.sequences._standing import gaps as gaps, standing as standing

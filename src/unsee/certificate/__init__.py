"""A signed statement of what a run did and measured, and its verification.  Needs no torch."""

from unsee.certificate._certify import certify as certify, draft as draft
from unsee.certificate._keys import (
    new_key as new_key,
    parsed as parsed,
    passphrase_in as passphrase_in,
    private_key as private_key,
)
from unsee.certificate._statement import now as now
from unsee.certificate._verify import Checked as Checked, checked as checked, verify as verify

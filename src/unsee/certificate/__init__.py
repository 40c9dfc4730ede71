"""A signed statement of what a run did and measured, and its verification.  Needs no torch."""

from unsee.certificate._certify import certify as certify
from unsee.certificate._keys import new_key as new_key, passphrase_in as passphrase_in
from unsee.certificate._verify import Checked as Checked, checked as checked, verify as verify

"""Everything that can go wrong, in one tree; the number is the exit code of the command line.

* UnseeError              catch this to catch them all
  x DataError         2   the images, labels or ids do not fit together or cannot be read
  x SplitError        2   the forget set cannot be what it says
  x ModelError        2   the model or its checkpoint lacks what was asked of it
  x OptionError       2   a method, an option or a flag has an unknown name or a bad value
  x RunError          2   a run cannot be read, or its folder holds another one
  x FleetError        2   a statistic needs more models than there are
  x LedgerError       2   a ledger cannot be read, or does not allow what was asked of it
  x LeaseError        2   a worker's lease ended and the work is another's; nothing was written
  x ChainError        3   a ledger is not as it was written: a row was changed, moved or taken out
  x SigningKeyError   2   a key cannot be read, or is open to others than its owner
  x PromiseError      2   an unlearning method breaks what every method promises
  x DivergenceError   3   a loss stopped being finite; the original model is untouched
  x DamageError       3   unlearning harmed what was to stay; the original model is untouched
  x CertificateError  3   a check of a certificate, or of the model beside it, failed
  x BusyError         4   another process holds this run folder, or the ledger
  x StorageError      5   the disk refused a write, or gave back other bytes than were written
  x DeviceMemoryError 6   the device has too little memory
  x WorkerError       7   a process of a distributed job has ended, or differs from the others
"""

import errno


class UnseeError(Exception):
    """Base class of every error that unsee raises on purpose."""

    exit_code = 2


class DataError(UnseeError, ValueError):
    """The images, labels or ids do not fit together or cannot be read."""


class SplitError(UnseeError, ValueError):
    """The forget set cannot be what it says."""


class ModelError(UnseeError):
    """The model or its checkpoint lacks what was asked of it."""


class OptionError(UnseeError, ValueError):
    """A method, an option or a flag has an unknown name or a bad value."""


class RunError(UnseeError):
    """A run cannot be read, or its folder holds another one."""


class FleetError(UnseeError, ValueError):
    """A statistic needs more models than there are."""


class LedgerError(UnseeError):
    """A ledger cannot be read, or does not allow what was asked of it."""


class LeaseError(UnseeError):
    """A worker's lease ended and the work is another's; nothing was written."""


class ChainError(UnseeError):
    """A ledger is not as it was written: a row was changed, moved or taken out."""

    exit_code = 3


class SigningKeyError(UnseeError):
    """A key cannot be read, or is open to others than its owner."""


class PromiseError(UnseeError, AssertionError):
    """An unlearning method breaks what every method promises."""


class DivergenceError(UnseeError):
    """A loss stopped being finite; the original model is untouched."""

    exit_code = 3


class DamageError(UnseeError):
    """Unlearning harmed what was to stay; the original model is untouched."""

    exit_code = 3


class CertificateError(UnseeError):
    """A check of a certificate, or of the model beside it, failed.

    Args:
        check: its name, the same for the same fault in every version; docs/certificates.md lists
            them.
        why: what was expected and what was got.

    """

    exit_code = 3

    def __init__(self, check: str, why: str = "") -> None:
        super().__init__(check, why)
        self.check, self.why = check, why

    def __str__(self) -> str:
        return f"check {self.check!r} failed: {self.why}"


class BusyError(UnseeError):
    """Another process holds this run folder, or the ledger for longer than one waits."""

    exit_code = 4


class StorageError(UnseeError, OSError):
    """The disk refused a write, or gave back other bytes than were written."""

    exit_code = 5


class DeviceMemoryError(UnseeError, MemoryError):
    """The device has too little memory."""

    exit_code = 6


class WorkerError(UnseeError):
    """A process of a distributed job has ended, or differs from the others."""

    exit_code = 7


class UnseeWarning(UserWarning):
    """Something that does not stop a run and that its owner should know."""


def to_write(what: object, error: OSError) -> str:
    """Return what a StorageError says of something that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free some space" if full else "see to that, or name another place"
    return f"Expected to write {what}, got {error}: {advice}, then --resume"

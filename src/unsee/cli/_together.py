"""The command line in a process that ``torchrun`` started beside others."""

import os
import sys

from unsee import ranks
from unsee.errors import OptionError

SHARED = ("run", "train", "unlearn", "audit", "explain")  # what processes of one job do together


def together(*arguments: str) -> None:
    """Join the distributed job that this process belongs to, if it does to any.

    Raises:
        OptionError: if the verb is none that processes share.
        WorkerError: if they differ in version, or in what they are asked for.

    """
    ranks.begin()
    if ranks.world() == 1:
        return
    from importlib.metadata import version

    if not ranks.leads():
        sys.stdout = open(os.devnull, "w")  # as long as the process
    verb = next(iter(arguments), None)
    if verb not in SHARED:
        raise OptionError(
            f"Expected under torchrun one of {[*SHARED]}, got {verb}: start it without torchrun"
        )
    ranks.same("versions and arguments", (version("unsee"), version("torch"), arguments))

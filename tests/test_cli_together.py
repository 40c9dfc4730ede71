"""The command line beside other processes of a job; real ones: test_distributed.py."""

import sys

import pytest

from unsee import ranks
from unsee.cli._together import together
from unsee.errors import OptionError


def test_a_process_that_torchrun_did_not_start_is_the_only_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # as other launchers set it
    out = sys.stdout
    together("sequence")
    assert sys.stdout is out and ranks.leads() and ranks.world() == 1


def test_a_verb_that_processes_do_not_share_is_refused(monkeypatch):
    monkeypatch.setattr(ranks, "begin", lambda: monkeypatch.setattr(ranks._job, "world", 2))
    with pytest.raises(OptionError, match="'explain'\\], got oracles: start it without torchrun"):
        together("oracles", "--forget", "class=3")

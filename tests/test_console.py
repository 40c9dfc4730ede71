"""Progress: a bar on a terminal, else plain lines, and never anything on stdout."""

import os
import pty
import subprocess
import sys

import pytest

from unsee import console, events
from unsee.console import Lines, pace, printable
from unsee.events import Event

TELL = """
import time
from unsee import console, events
with console.progress(), events.stage("train"):
    for done in range(4):
        events.tell("progress", done=done, total=4, images_per_second=812.0, seconds_left=3.0)
        time.sleep(0.15)
    events.tell("warning", message="5 twins \\x1b[31m stay")
"""


def on_a_terminal(**environment):
    """Run TELL with its stderr on a terminal and return what stands there."""
    ours, theirs = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-c", TELL], env=os.environ | environment, stderr=theirs, stdout=-1
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(ours)
    assert process.returncode == 0 and process.stdout == b""
    return shown.decode()


def test_a_terminal_shows_a_bar_and_keeps_the_lines():
    shown = on_a_terminal(TERM="xterm-256color", COLUMNS="80")
    assert "812 images/s" in shown and "\u2501" in shown
    assert "train: done in" in shown and "warning: 5 twins \\x1b[31m stay" in shown


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_plain_terminals_get_no_colours(environment):
    shown = on_a_terminal(COLUMNS="40", **environment)
    assert "train: done in" in shown
    assert not [code for code in ("\x1b[3", "\x1b[9", "\x1b[1;3") if f"{code}1m" in shown]
    assert ("\x1b" in shown) == (environment["TERM"] == "xterm")


def test_without_a_terminal_a_line_comes_every_few_seconds(monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    listener = Lines(lines.append, every=5.0)
    for second in range(12):
        clock[0] = float(second)
        kind = {0: "start", 11: "end"}.get(second, "progress")
        listener(Event(0.0, "train", kind, second, 12, 812.4, 83.4))
    assert lines == [
        "train: 5/12, 812 images/s, 1:23 left",
        "train: 10/12, 812 images/s, 1:23 left",
        "train: done in 11.0 s",
    ]


@pytest.mark.parametrize(("quiet", "lines"), [(True, 1), (False, 3)])
def test_quiet_leaves_warnings(quiet, lines, capsys):
    with console.progress(quiet=quiet), events.stage("train"):
        events.warn("5 twins stay")
        events.warn("5 twins stay")
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == lines
    assert "warning: 5 twins stay" in told.err
    assert quiet or told.err.splitlines()[-1].startswith("peak memory ")


def test_nothing_goes_to_stdout_where_stderr_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with console.progress():
        events.warn("5 twins stay")
    assert capsys.readouterr().out == ""


def test_a_pace_says_what_it_knows():
    assert pace(Event(0.0, "train", "progress", 7, 0)) == "7"
    assert pace(Event(0.0, "train", "progress", 7, 9, 10.0)) == "7/9, 10 images/s"
    assert printable("caf\u00e9 \u202e\x00") == "caf\u00e9 \\u202e\\x00"

"""The command line as a process: start, signals, pipes, a full disk, an odd environment."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unsee import pipeline, training
from unsee.cli import call
from unsee.folder import EVENTS

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as in the process of the tests
ENVIRONMENT = os.environ | ONE_THREAD | {"PYTHONPATH": str(HERE)}
AS_ON_THIS_MACHINE = training.has_fast_bf16  # a fixture of all tests replaces it
UNSEE = (sys.executable, "-m", "unsee")
TINY = ("--arch", "tinynet:build", "--forget", "class=3")


@pytest.fixture(autouse=True)
def quick_reports(monkeypatch):
    """Drawing takes longer than all that these tests are about; processes draw all the same."""
    monkeypatch.setattr(pipeline, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipeline, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipeline, "figures", lambda run, drawn: {})


def unsee(*arguments, **more):
    asked = {"env": ENVIRONMENT, "text": True, "stderr": subprocess.PIPE} | more
    return subprocess.Popen([*UNSEE, *arguments], **asked)


def test_help_takes_less_than_three_tenths_of_a_second():
    taken = []
    for _ in range(5):  # in seconds of the processor: what else the machine does is not our cost
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*UNSEE, "--help"], capture_output=True, env=ENVIRONMENT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0 and b"unlearn" in done.stdout and done.stderr == b""
    assert 0 < min(taken) < 0.3, taken


@pytest.mark.parametrize("asked", [("--help",), ("run", "--help"), ("--version",), ("run", "--x")])
def test_answers_without_a_run_load_nothing_heavy(asked):
    code = (
        f"import sys; from unsee.cli import call; call(*{asked!r}); "
        "print('loaded', {'torch', 'numpy', 'rich', 'pyarrow', 'PIL'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded set()", done.stderr


def test_a_list_of_requests_takes_less_than_six_tenths_of_a_second_and_no_torch(tmp_path):
    url = ("--ledger", str(tmp_path / "ledger.sqlite"))
    asked = ("case-1", "--forget", "class=3", "--as", "ana")
    assert unsee("request", "add", *asked, *url).communicate(timeout=60)[1] == ""
    heavy = {"torch", "numpy", "rich", "alembic", "pyarrow", "PIL"}
    code = (
        f"import sys; from unsee.cli import call; call('request', 'list', *{url!r}); "
        f"print('loaded', {heavy!r} & sys.modules.keys())"
    )
    taken = []
    for _ in range(4):  # in seconds of the processor, as above
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "case-1" in done.stdout and done.stdout.endswith("loaded set()\n"), done.stderr
    assert 0 < min(taken) < 0.6, taken


def wait_for(process, happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.005)


def test_a_stopped_and_then_killed_run_ends_with_the_bytes_of_an_unharmed_one(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "has_fast_bf16", AS_ON_THIS_MACHINE)
    harmed, whole = tmp_path / "harmed", tmp_path / "whole"
    asked = (*TINY, "--train-epochs", "4", "--set", "epochs=9", "--quiet")
    log, original = harmed / EVENTS, harmed / "original.safetensors"

    process = unsee("run", *asked, "--out", str(harmed))
    wait_for(process, lambda: log.exists() and '"progress"' in log.read_text())
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - start < 10
    assert told.startswith("unsee: stopped") and told.count("\n") == 1
    assert not original.exists() and not [*harmed.glob("*.part")]

    process = unsee("run", "--resume", str(harmed), "--quiet")
    wait_for(process, original.exists)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (harmed / "model.safetensors").exists()

    assert call("run", "--resume", str(harmed), "--quiet") == 0
    assert call("run", *asked, "--out", str(whole)) == 0
    for name in ("original.safetensors", "model.safetensors"):
        assert (harmed / name).read_bytes() == (whole / name).read_bytes()


def test_a_full_disk_is_exit_5_and_the_run_goes_on_when_there_is_room(tmp_path, capsys):
    folder = tmp_path / "run"
    asked = (*TINY, "--train-epochs", "1", "--method", "noop", "--quiet")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a model has 16 KB, a page more
    try:
        assert call("run", *asked, "--out", str(folder)) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert told.startswith("unsee: Expected to write") and told.count("\n") == 1
    assert (folder / "model.safetensors").exists() and not (folder / "report.html").exists()
    assert not [*folder.glob("*.part")]
    assert call("run", "--resume", str(folder), "--quiet") == 0
    assert (folder / "report.html").exists()


def test_a_reader_that_goes_away_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    process = unsee("run", "--help", stdout=writing)
    os.close(writing)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_exit_5():
    with open("/dev/full", "w") as full:
        process = unsee("run", "--help", stdout=full)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 5 and told.startswith("unsee: Expected a disk")


def test_an_odd_environment_changes_nothing(tmp_path):
    """A C locale, 40 columns, no home, no terminal."""
    odd = {"PATH": os.environ["PATH"], "LC_ALL": "C", "COLUMNS": "40", "TERM": "dumb"}
    odd |= ONE_THREAD | {"NO_COLOR": "1", "PYTHONPATH": str(HERE)}
    asked = (*TINY, "--train-epochs", "1", "--method", "noop", "--out", str(tmp_path / "run"))
    done = unsee("run", *asked, env=odd, stdout=subprocess.PIPE)
    out, told = done.communicate(timeout=60)
    assert done.returncode == 0, told
    assert "test_accuracy" in out and re.search(r"^train: done in", told, re.MULTILINE)
    assert (out + told).isascii() and "\x1b" not in out + told
    bad = unsee("run", "--forget", "class=3", "--seed", "x", env=odd)
    assert bad.communicate(timeout=30)[1].count("\n") == 1 and bad.returncode == 2

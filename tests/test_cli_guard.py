"""From exceptions to exit codes, and the page that documents them."""

import ast
import errno
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from unsee import errors, pipeline
from unsee.cli import VERBS, call
from unsee.cli._guard import listen_for_signals, verdict

ROOT = Path(__file__).parents[1]
RUN = ("run", "--forget", "class=3", "--arch", "tinynet:build", "--out", "OUT")


def too_much(*_, **__):
    torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError("x"), 2),
        (errors.DivergenceError("x"), 3),
        (errors.BusyError("x"), 4),
        (errors.StorageError("x"), 5),
        (errors.DeviceMemoryError("x"), 6),
        (errors.WorkerError("x"), 7),
        (MemoryError(), 6),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), 6),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (PermissionError(errno.EACCES, "Permission denied", "data"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "data"), 2),
        (ZeroDivisionError("x"), 1),
    ],
    ids=repr,
)
def test_every_kind_of_error_has_its_exit_code(error, code, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "run", Mock(side_effect=error))  # no code that came along
    assert call(*RUN) == code
    told = capsys.readouterr()
    assert told.out == "" and told.err.splitlines()[-1].startswith("unsee: ")
    assert ("Traceback" in told.err) == (code == 1) == ("please report" in told.err)


def test_every_error_of_ours_ends_in_the_number_of_its_docstring():
    documented = dict(re.findall(r"x (\w+) +(\d)", errors.__doc__))
    ours = {k: v for k, v in vars(errors).items() if k.endswith("Error") and k != "UnseeError"}
    assert documented == {name: str(verdict(kind("x"))[0]) for name, kind in ours.items()}


def test_exhausted_memory_is_told_with_its_size(monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "run", too_much)
    assert call(*RUN) == 6
    assert str(2**60) in capsys.readouterr().err
    assert re.search(r"\d\.\d\d GiB were in use", verdict(MemoryError())[1])


def test_an_interrupt_is_130_and_no_traceback(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    assert call(*RUN) == 130
    assert capsys.readouterr().err == "unsee: stopped\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_unwinds_and_a_second_one_ends_the_process(number, code, monkeypatch, capsys):
    def signalled(*_, **__):
        signal.raise_signal(number)

    monkeypatch.setattr(pipeline, "run", signalled)
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(number, signal.SIG_DFL)  # in the background SIGINT is ignored, and stays so
        listen_for_signals()
        assert call(*RUN) == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    told = capsys.readouterr().err
    assert told.startswith("unsee: stopped") and told.count("\n") == 1 and "--resume" in told


def test_a_message_is_one_line_of_printable_characters(monkeypatch, capsys):
    def fails(*_, **__):
        raise errors.DataError("Expected a name, got 'a\nb\x1b[31m\u202ec\r'")

    monkeypatch.setattr(pipeline, "run", fails)
    assert call(*RUN) == 2
    assert capsys.readouterr().err == "unsee: Expected a name, got 'a b\\x1b[31m\\u202ec '\n"


def test_no_check_vanishes_with_python_o():
    for path in (ROOT / "src").rglob("*.py"):
        found = [node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Assert]
        assert not found, path


def test_the_page_on_the_command_line_is_what_the_command_line_says():
    script = [sys.executable, str(ROOT / "scripts" / "cli_docs.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "cli.md").read_text()
    said = dict.fromkeys(re.findall(r"^## `unsee (\w+)", page, re.MULTILINE))  # a group once
    assert [*said] == [*VERBS]
    assert set(re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE)) >= set("0123456")


@pytest.mark.parametrize(
    ("name", "line"),
    [("divides", "return 1 / 0"), ("multiplies", "return torch.zeros(2) @ torch.zeros(3)")],
)
def test_a_fault_in_code_that_came_along_names_its_place_and_is_no_bug(
    name, line, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.py").write_text(f"import torch\n\n\ndef net():\n    {line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = ("--arch", f"{name}:net", "--data", "digits", "--out", "x")
    assert call("run", "--forget", "class=3", *named) == 2
    told = capsys.readouterr().err
    assert f"unsee: Expected {tmp_path / name}.py:5 to do its work, got" in told
    assert line in told and "bug in unsee" not in told, "its own lines are above"
    assert not (tmp_path / "x").exists()


def test_a_mistake_in_the_syntax_of_ones_own_file_is_told_as_ones_own(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("def net(:\n")
    with pytest.raises(SyntaxError) as caught:
        compile(file.read_text(), str(file), "exec")
    code, told = verdict(caught.value)
    assert code == 2 and f"Expected {file}:1 to do its work, got SyntaxError" in told

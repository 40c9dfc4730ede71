"""``unsee run`` and what all verbs share; the files of single stages are in test_cli_stages.py."""

import json
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from unsee import pipeline, training
from unsee.cli import app, call
from unsee.cli._run import NOT_OF_THE_RUN
from unsee.errors import BusyError
from unsee.folder import EVENTS, opened
from unsee.nouns import Config

TINY = ("--arch", "tinynet:build", "--forget", "class=3", "--train-epochs", "1")
QUICK = (*TINY, "--method", "noop")


@pytest.fixture(autouse=True, scope="module")
def quick_reports():
    """Drawing takes longer than all that these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)  # as in every single test
        patch.setattr(pipeline, "pictures_of", lambda run: None)
        patch.setattr(pipeline, "page", lambda run, drawn: f"<!doctype html>{run.method}")
        patch.setattr(pipeline, "figures", lambda run, drawn: {})
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run against retraining."""
    folder = tmp_path_factory.mktemp("runs") / "done"
    assert call("run", *TINY, "--oracle", "retrain", "--quiet", "--out", str(folder)) == 0
    return folder


def test_a_run_ends_in_a_summary_of_18_lines_and_80_columns(tmp_path, capsys):
    folder = tmp_path / "run"
    assert call("run", *TINY, "--oracle", "retrain", "--out", str(folder)) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    measured = json.loads((folder / "audit.json").read_text())["models"]
    assert len(lines) <= 18
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)
    (row,) = (line for line in lines if line.startswith("test_accuracy"))
    for model in ("original", "unlearned", "retrained"):
        assert f"{measured[model]['test_accuracy']['value']:.3f}" in row
    assert f"report  {folder / 'report.html'}" in lines and "ratio" in told.out
    assert "train: done in" in told.err and "\x1b" not in told.err + told.out


def test_json_is_alone_on_stdout(tmp_path, capsys):
    assert call("run", *QUICK, "--json", "--out", str(tmp_path / "run")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "run" / "audit.json").read_text())
    assert printed["schema"] == 1 and printed["models"]["retrained"] is None


def test_a_run_that_misses_what_it_requires_is_complete_and_ends_with_3(tmp_path, capsys):
    asked = ("--require", "forget_accuracy<=1", "--require", "test_accuracy>=1.5")
    assert call("run", *QUICK, *asked, "--quiet", "--out", str(tmp_path / "run")) == 3
    assert capsys.readouterr().err.startswith("unsee: required test_accuracy>=1.5, measured 0.")
    assert (tmp_path / "run" / "report.html").exists()


BAD = {
    "no rule": (("--out", "OUT"), "Expected --forget"),
    "no folder": (QUICK, "Expected --out"),
    "no such flag": ((*QUICK, "--faster"), "--faster"),
    "not a number": ((*QUICK, "--seed", "one"), "'--seed'"),
    "no such method": ((*TINY, "--method", "scurb"), "Expected a method among"),
    "no such option": ((*QUICK, "--set", "rate=1"), "Expected options of 'noop'"),
    "no value": ((*QUICK, "--set", "lr"), "KEY=VALUE"),
    "twice": ((*QUICK, "--epochs", "1", "--set", "epochs=2"), "['epochs'] twice"),
    "no such class": (("--forget", "class=ten"), "Expected classes among"),
    "no such rule": (("--forget", "3"), "Expected a rule among"),
    "no such data": ((*QUICK, "--data", "imagenet"), "Expected data among"),
    "a URL": ((*QUICK, "--data", "mnist:http://169.254.169.254/"), "never fetches"),
    "an archive": ((*QUICK, "--data", "folder:photos.zip"), "photos.zip"),
    "no such model": ((*QUICK, "--model", "gone.safetensors"), "gone.safetensors"),
    "no such architecture": (("--forget", "class=3", "--arch", "tinynet:gone"), "'gone'"),
    "half of the units": ((*QUICK, "--mean", "0.5"), "--mean and --std together"),
    "no numbers": ((*QUICK, "--mean", "0.5;0.5"), "--mean as numbers"),
    "no condition": ((*QUICK, "--require", "accuracy"), "such as 'forget_accuracy<=0.01'"),
    "two modes": ((*QUICK, "--json", "--dry-run"), "--json or --dry-run"),
    "nothing to resume": (("--resume", "gone"), "Expected a run folder to --resume"),
    "a file": ((*QUICK, "--out", "photos.zip"), "got the file photos.zip"),
    "no such device": ((*QUICK, "--device", "tpu"), "among ['auto', 'cpu', 'cuda']"),
}


@pytest.mark.parametrize(("flags", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    flags, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.zip").write_bytes(b"PK\x03\x04")
    out = () if words.startswith("Expected --out") or "--out" in flags else ("--out", "OUT")
    assert call("run", *flags, *out) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("unsee: ") and words in told.err
    assert told.err.count("\n") == 1 and "Traceback" not in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["photos.zip"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_cuda_device_is_no_reason_to_use_the_cpu(tmp_path, capsys):
    assert call("run", *QUICK, "--device", "cuda", "--out", str(tmp_path / "run")) == 2
    assert "Expected a CUDA device" in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_a_run_is_never_overwritten_unless_forced(done, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    for file in done.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert call("run", *QUICK, "--quiet", "--out", str(folder)) == 2
    told = capsys.readouterr().err
    assert f"--resume {folder}" in told and "--force" in told
    assert call("run", *QUICK, "--quiet", "--force", "--seed", "no", "--out", str(folder)) == 2
    assert call("run", *TINY, "--method", "no", "--force", "--out", str(folder)) == 2
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    assert call("run", *QUICK, "--quiet", "--force", "--out", str(folder)) == 0
    assert json.loads((folder / "audit.json").read_text())["method"] == "noop"
    assert not (folder / "retrained.safetensors").exists()
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "forced"])
def test_a_folder_of_something_else_stays_as_it_is(force, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert call("run", *QUICK, *force, "--out", str(tmp_path)) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def contents(folder):
    """All files but the log, which says when a run was opened."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != EVENTS}


def test_a_finished_run_resumes_without_flags_and_stays_the_same(done, capsys):
    before = contents(done)
    assert call("run", "--resume", str(done), "--quiet") == 0
    same = ("--seed", "0", "--train-epochs", "1", "--out", str(done))
    assert call("run", "--resume", str(done), "--quiet", *same) == 0
    assert contents(done) == before
    assert {"audit.json", "model.safetensors", "report.html"} <= {*before}


@pytest.mark.parametrize(
    "other",
    [
        ("--seed", "1"),
        ("--set", "lr=1"),
        ("--epochs", "2"),
        ("--force",),
        ("--out", "elsewhere"),
        ("--mean", "0.5", "--std", "0.5"),
        ("--require", "test_accuracy>0"),
    ],
    ids=lambda flags: flags[0],
)
def test_a_run_cannot_be_resumed_as_another(other, done, capsys):
    before = (done / "config.json").read_bytes(), (done / "audit.json").read_bytes()
    assert call("run", "--resume", str(done), *other) == 2
    assert f"got other flags: ['{other[0]}'" in capsys.readouterr().err
    assert before == ((done / "config.json").read_bytes(), (done / "audit.json").read_bytes())


def test_a_dry_run_counts_and_estimates_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("run", *TINY, "--oracle", "retrain", "--dry-run", "--out", "run") == 0
    told = capsys.readouterr().out
    assert "would forget 146 of 1437 training images of digits by class=3" in told
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line}
    assert rows["class"] == ["forget", "retain", "test"]
    assert rows["3"][:2] == ["146", "0"] and rows["0"][0] == "0" and int(rows["0"][1]) > 100
    assert all(stage in told for stage in ("train ", "unlearn ", "retrain ", "audit "))
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_warns_as_a_run_would(tmp_path, capsys):
    ids = tmp_path / "ids.txt"
    ids.write_text("train/00000\ntrain/00000\n")
    asked = ("--forget", f"ids={ids}", "--arch", "tinynet:build", "--dry-run", "--quiet")
    assert call("run", *asked) == 0
    told = capsys.readouterr()
    assert told.err.startswith("warning: 1 ids of ids.txt are repeated")
    assert "would forget 1 of 1437" in told.out


def test_a_folder_that_another_process_works_in_is_busy(tmp_path, capsys):
    with opened(tmp_path / "run", "{}"):
        assert call("run", *QUICK, "--out", str(tmp_path / "run")) == BusyError.exit_code == 4
        assert call("run", *QUICK, "--force", "--out", str(tmp_path / "run")) == 4
        assert (tmp_path / "run" / "config.json").read_text() == "{}"
    assert "another process" in capsys.readouterr().err


def test_every_flag_of_run_is_a_field_of_config_with_its_default():
    flags = {p.name: p for p in get_command(app).commands["run"].params}
    plain = {field.name: field for field in fields(Config)}
    assert flags.keys() - NOT_OF_THE_RUN - {"set_", "epochs"} == plain.keys() - {"options"}
    for name in flags.keys() & plain.keys() - {"forget", "require", "earlier", "audits"}:
        assert plain[name].default is not MISSING and flags[name].default == plain[name].default


def test_audits_are_named_in_one_flag(monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline, "run", lambda config, folder, **_: seen.append(config))
    flags = ("--audits", "accuracy, membership", "--audit-retain", "500")
    call("run", *TINY, *flags, "--out", "x")
    call("run", *TINY, "--out", "x")
    assert [c.audits for c in seen] == [("accuracy", "membership"), ()]
    assert [c.audit_retain for c in seen] == [500, None]


def test_values_of_options_stay_text_for_the_method_to_read(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(pipeline, "run", lambda config, folder, **_: seen.append(config))
    call("run", *TINY, "--set", "lr=1e-3", "--epochs", "2", "--mean", "0.5", "--out", "x")
    assert seen[0].options == {"lr": "1e-3", "epochs": "2"} and seen[0].mean == (0.5,)
    assert not Path("x").exists()

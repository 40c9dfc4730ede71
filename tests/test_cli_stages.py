"""The stages alone, on files: they do what a run does, and nothing where they fail."""

import json

import pytest
import torch

import unsee.folder
from unsee import pipeline, reporting, training
from unsee.cli import call
from unsee.cli._tables import catalogue, described
from unsee.errors import StorageError
from unsee.methods import METHODS
from unsee.models import read

TINY = ("--arch", "tinynet:build", "--quiet")
RULE = ("--forget", "class=3")


@pytest.fixture(autouse=True, scope="module")
def quick_reports():
    """Drawing takes longer than all that these tests are about; this says what would be drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "has_fast_bf16", lambda device: False)  # as in every single test
        for module in (pipeline, reporting):
            patch.setattr(module, "page", lambda run, drawn=None: "\n".join(sorted(run.arrays)))
        patch.setattr(pipeline, "pictures_of", lambda run: None)
        patch.setattr(pipeline, "figures", lambda run, drawn: {})
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run against retraining."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    asked = (*TINY, *RULE, "--train-epochs", "1", "--oracle", "retrain")
    assert call("run", *asked, "--out", str(folder)) == 0
    return folder


def models(run):
    return (
        *TINY,
        *("--original", str(run / "original.safetensors")),
        *("--unlearned", str(run / "model.safetensors")),
        *("--retrained", str(run / "retrained.safetensors")),
    )


def test_training_alone_makes_the_models_of_a_run(run, tmp_path, capsys):
    for rule, made in (((), "original"), (RULE, "retrained")):
        file = tmp_path / "model.safetensors"
        assert call("train", *TINY, *rule, "--epochs", "1", "--force", "--out", str(file)) == 0
        assert file.read_bytes() == (run / f"{made}.safetensors").read_bytes()
    assert capsys.readouterr().out.splitlines() == [str(file)] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_unlearning_alone_makes_the_model_of_a_run(run, tmp_path):
    before, after = run / "original.safetensors", tmp_path / "after.safetensors"
    weights = before.read_bytes()
    assert call("unlearn", *TINY, *RULE, "--model", str(before), "--out", str(after)) == 0
    assert before.read_bytes() == weights
    assert after.read_bytes() == (run / "model.safetensors").read_bytes()
    pt = tmp_path / "before.pt"
    torch.save({"state_dict": read(before).state}, pt)
    asked = (*TINY, *RULE, "--model", str(pt), "--mean", "0.5", "--std", "0.3")
    assert call("unlearn", *asked, "--out", str(tmp_path / "after.pt")) == 0
    saved = torch.load(tmp_path / "after.pt", weights_only=True)
    assert saved.keys() == {"state_dict"} and [*saved["state_dict"]] == [*read(before).state]
    types = {name: tensor.dtype for name, tensor in read(before).state.items()}
    assert types == {name: tensor.dtype for name, tensor in read(after).state.items()}


def test_auditing_alone_measures_what_a_run_measures(run, tmp_path, capsys):
    folder = tmp_path / "audit"
    assert call("audit", *models(run), *RULE, "--out", str(folder)) == 0
    assert {path.name for path in folder.iterdir()} == {"audit.json", "arrays.npz", "report.html"}
    alone, whole = (json.loads((x / "audit.json").read_text()) for x in (folder, run))
    assert alone["models"] == whole["models"] and alone["forget"] == whole["forget"]
    assert alone["method"] is None and alone["seconds"]["unlearn"] is None
    assert capsys.readouterr().out.strip() == str(folder / "report.html")


def test_explaining_alone_draws_and_gives_the_evidence_of_a_run(run, tmp_path):
    folder = tmp_path / "maps"
    assert call("explain", *models(run), *RULE, "--out", str(folder)) == 0
    alone, whole = (json.loads((x / "audit.json").read_text()) for x in (folder, run))
    found = alone["models"]["unlearned"]
    assert found["evidence_remaining"] == whole["models"]["unlearned"]["evidence_remaining"]
    assert found.items() < whole["models"]["unlearned"].items()
    assert "forget_accuracy" not in found
    drawn = [*(folder / "figures").iterdir()]
    assert drawn and all("<svg" in path.read_text() for path in drawn)


def test_a_report_is_made_anew_and_a_redacted_one_beside_it(run, tmp_path, capsys):
    before = (run / "report.html").read_bytes()
    assert call("report", str(run)) == 0
    assert (run / "report.html").read_bytes() == before
    shared = tmp_path / "shared.html"
    assert call("report", str(run), "--redact", "--out", str(shared)) == 0
    assert call("report", str(run), "--out", str(shared)) == 2
    assert "exists" in capsys.readouterr().err
    assert (run / "report.html").read_bytes() == before
    assert "pictures/forget/images" in before.decode()
    assert "pictures/forget/images" not in shared.read_text()
    assert call("report", str(tmp_path), "--out", str(tmp_path / "other.html")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["shared.html"]


def refused(run, tmp_path):
    """Return command lines that must not work, and what they are told."""
    model = str(run / "original.safetensors")
    old = tmp_path / "old.safetensors"
    old.write_text("mine")
    return [
        (("train", *TINY), "Expected --out"),
        (("train", *TINY, "--out", str(old)), "which exists"),
        (("train", *TINY, "--out", str(tmp_path)), "which exists"),
        (("train", *TINY, "--out", str(tmp_path / "gone" / "x")), "make it first"),
        (("train", *TINY, "--forget", "class=x", "--out", str(tmp_path / "x")), "classes among"),
        (("unlearn", *TINY, *RULE, "--out", str(tmp_path / "x")), "Expected --model"),
        (("unlearn", *TINY, "--model", model, "--out", str(tmp_path / "x")), "Expected --forget"),
        (("unlearn", *TINY, *RULE, "--model", model, "--force", "--out", model), "the input"),
        (
            ("unlearn", *TINY, *RULE, "--model", model, "--set", "rate=1", "--out", "x"),
            "Expected options",
        ),
        (("audit", *models(run)[5:], *RULE, "--out", str(tmp_path / "x")), "--original"),
        (("audit", *models(run), *RULE, "--out", str(tmp_path)), "which exists"),
        (("audit", *models(run)[:5], *RULE, "--unlearned", str(old), "--out", "x"), "old"),
        (("explain", *models(run), "--out", str(tmp_path / "x")), "Expected --forget"),
        (("report", str(tmp_path / "gone")), "finished run"),
        (("methods", "scurb"), "Expected a method among"),
        (("train", *TINY, "--out", "x.pt"), "Expected --out x.safetensors"),
        (("unlearn", *TINY, *RULE, "--model", model, "--out", "x.pth"), "Expected --out x.saf"),
    ]


def test_a_stage_that_fails_writes_nothing_and_overwrites_nothing(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    weights = (run / "original.safetensors").read_bytes()
    for arguments, words in refused(run, tmp_path):
        assert call(*arguments) == 2, arguments
        told = capsys.readouterr()
        assert words in told.err and told.err.count("\n") == 1 and told.out == "", arguments
    assert [path.name for path in tmp_path.iterdir()] == ["old.safetensors"]
    assert (tmp_path / "old.safetensors").read_text() == "mine"
    assert (run / "original.safetensors").read_bytes() == weights


@pytest.mark.parametrize("there", [False, True], ids=["new", "forced"])
def test_an_audit_that_cannot_be_written_whole_leaves_nothing(
    run, there, tmp_path, monkeypatch, capsys
):
    def full(path, content):
        if path.name == "audit.json":
            raise StorageError("disk full")
        write(path, content)

    write = unsee.folder.write
    folder = tmp_path / "audit"
    if there:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr(unsee.folder, "write", full)
    asked = (*models(run), *RULE, "--force", "--out", str(folder))
    assert call("audit", *asked) == StorageError.exit_code == 5
    assert capsys.readouterr().err == "unsee: disk full\n"
    assert [path.name for path in tmp_path.rglob("*")] == (["audit", "notes.txt"] if there else [])


def test_methods_are_listed_and_described_as_they_are(capsys):
    assert call("methods") == 0
    listed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert [line.split()[0] for line in listed.splitlines() if line[0] != " "] == [*METHODS]
    assert call("methods", "snu") == 0
    form = capsys.readouterr().out
    assert all(f"--set {name}={value}" in form for name, value in METHODS["snu"].options.items())
    assert "gaussian, uniform, mix, replace" in form and METHODS["snu"].paper in form
    assert call("methods", "--json") == 0
    facts = {method["name"]: method for method in json.loads(capsys.readouterr().out)}
    assert facts.keys() == METHODS.keys() and facts["retrain"]["exact"] is True
    assert call("methods", "snu", "--json") == 0
    assert json.loads(capsys.readouterr().out) == facts["snu"]


def test_what_is_written_down_of_methods_is_what_their_functions_say():
    """As text: 1 and 1.0 are not the same default."""
    known = {name: described(method) for name, method in METHODS.items()}
    assert json.dumps(catalogue()) == json.dumps(known), "python scripts/methods.py writes it anew"


def test_a_method_of_ones_own_is_described_by_its_function(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "import unsee\n\n\n@unsee.method(title='Mine', paper='none')\n"
        "def mine(model, forget, retain, *, rng, lr: float = 0.25):\n    'Do it.'\n"
    )
    assert call("methods", f"{file}:mine") == 0
    assert "--set lr=0.25" in capsys.readouterr().out
    assert call("methods", "scurb") == 2
    assert "Expected a method among ['amun'" in capsys.readouterr().err


def test_unlearning_says_what_the_guard_saw_and_what_was_tried(run, tmp_path, capsys):
    asked = (*TINY[:2], *RULE, "--model", str(run / "original.safetensors"), "--guard", "0.9")
    file = tmp_path / "after.safetensors"
    assert call("unlearn", *asked, "--tune", "2", "--out", str(file)) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(file)]
    assert "Guard: accuracy on 500 images that stay" in said.err
    assert "the best of 2 settings" in said.err


def test_harm_ends_in_code_3_and_leaves_no_model(run, tmp_path, capsys):
    asked = (*TINY, *RULE, "--model", str(run / "original.safetensors"))
    file = tmp_path / "after.safetensors"
    assert call("unlearn", *asked, "--method", "random_head", "--out", str(file)) == 3
    said = capsys.readouterr()
    assert not file.exists() and not said.out
    assert "original model is untouched" in said.err and "Traceback" not in said.err
    assert (
        call("unlearn", *asked, "--method", "random_head", "--guard", "1", "--out", str(file)) == 0
    )

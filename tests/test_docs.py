"""What the code has, the documentation names; what the documentation names is there."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from attacks.folders import write_folder

from unsee import pipeline
from unsee.audits import AUDITS
from unsee.cli import app, call
from unsee.data import SOURCES, SPOILED, load
from unsee.data._decode import FORMATS, PIXELS
from unsee.data._parquet import IMAGE, LABEL
from unsee.data._rules import RULES
from unsee.data._table import KEYS
from unsee.ledger import Ledger
from unsee.methods import METHODS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import cli_docs  # noqa: E402

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*unsee (.*)")
FORMS = {page.stem: page.read_text() for page in (ROOT / "docs" / "methods").glob("*.md")}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_has_a_form_that_names_its_options(method):
    form = FORMS.get(method.name, FORMS["controls"])
    assert method.name in form
    missing = [option for option in method.options if f"`{option}`" not in form]
    assert not missing, f"docs/methods/{method.name}.md does not name {missing}"


def test_the_methods_stand_in_the_row_of_what_they_are_shown():
    shown = {
        "buffer": "the images to forget and a small buffer",
        "forget": "the images to forget alone",
        "all": "all images that stay",
    }
    for method in METHODS.values():
        if f"]({method.name}.md)" not in FORMS["README"]:
            assert f"`{method.name}`" in FORMS["README"] and method.name in FORMS["controls"]
        elif method.name != "retrain":
            (row,) = (x for x in FORMS["README"].splitlines() if f"]({method.name}.md)" in x)
            assert row.startswith(f"| {shown[method.data]}"), method.name


@pytest.mark.parametrize("audit", AUDITS.values(), ids=AUDITS)
def test_every_measurement_is_defined(audit):
    text = (ROOT / "docs" / "audits.md").read_text()
    assert not [name for name in audit.names if f"`{name}`" not in text]


def test_what_audits_may_be_asked_by_stands_beside_their_measurements():
    text = (ROOT / "docs" / "audits.md").read_text()
    parts = [part.partition("\n\n| name")[::2] for part in text.split("\n## ")]
    for name, audit in AUDITS.items():
        asked = [rows for head, rows in parts if re.search(rf"Asked [^|]*`{name}`", head)]
        defined = "".join(asked)
        assert asked and not [x for x in audit.names if f"`{x}`" not in defined], name


def test_the_readme_names_every_source_rule_and_method():
    text = (ROOT / "README.md").read_text()
    assert not [name for name in SOURCES if f"`{name}" not in text]
    assert not [name for name in RULES if f"`{name}=" not in text]
    assert not [name for name in METHODS if f"`{name}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands(text):
    """Yield the words behind ``unsee`` of every command in the blocks of a page."""
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := COMMAND.match(line.strip()):
                words = shlex.split(found[1], comments=True)
                yield words[: next((n for n, x in enumerate(words) if x in "|;>&&"), None)]


def parsed(words):
    """Let the command line read words and do nothing; raises what it raises."""
    command, context, verb = typer.main.get_command(app), None, []
    while hasattr(command, "commands"):
        context = typer.Context(command, parent=context)
        name, command, words = command.resolve_command(context, words)
        verb.append(name)
    return " ".join(filter(None, verb)), command.make_context("unsee", list(words), parent=context)


def whole(text):
    """Yield the words of every command to be pasted: of blocks, and of lines with a rule."""
    yield from commands(text)
    for line in re.findall(r"(?<!`)`unsee ([a-z][^`]* --forget [^`]*)`", text):
        yield shlex.split(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_the_documentation_are_commands_and_lack_nothing(page):
    text = page.read_text()
    for words in whole(text):
        verb, _ = parsed(words)
        lacking = cli_docs.needed(verb, [word.partition("=")[0] for word in words])
        assert not lacking, f"unsee {' '.join(words)} lacks {lacking}"
    assert not re.findall(r"--set \w+=\S+ \w+=", text)  # each has its own flag
    assert not re.findall(r"^    unsee [a-z]+ ", text, re.MULTILINE), "put it between ``` and ```"


@pytest.mark.parametrize(
    ("verb", "flag"), [(verb, flag) for verb, flags in cli_docs.NEEDED.items() for flag in flags]
)
def test_what_the_page_calls_needed_is_asked_for(verb, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Ledger("ledger.sqlite").engine.dispose()
    others = [word for x in cli_docs.NEEDED[verb] if x != flag for word in (x, "2030-01-01")]
    arguments = {"purge": ["1"], "certify": ["run"], "request": ["1"]}.get(verb.split()[0], [])
    assert call(*verb.split(), *arguments, *others) == 2
    told = capsys.readouterr().err
    assert any(f"{words} {flag} " in told for words in ("add", "with", "add, for example,"))


def test_commands_are_found_and_wrong_ones_refused():
    assert [*whole("`unsee run --forget x` and `unsee run`")] == [["run", "--forget", "x"]]
    text = (
        "```sh\nA=1 unsee run --set lr=1 \\\n  --json | jq\n$ unsee methods  # all\n```\nunsee run"
    )
    assert [*commands(text)] == [["run", "--set", "lr=1", "--json"], ["methods"]]
    assert sum(len([*commands(page.read_text())]) for page in PAGES) > 40
    with pytest.raises(Exception, match="No such option"):
        parsed(["run", "--sett", "lr=1"])


def test_the_readme_shows_the_figures_that_were_measured():
    text, figures = (ROOT / name for name in ("README.md", "docs/evidence/readme.md"))
    assert figures.read_text() in text.read_text(), "make verify, then copy docs/evidence/readme.md"


def test_the_example_of_data_does_what_its_page_says(tmp_path, monkeypatch, capsys):
    """Its script makes the folder, its lines read it, and the dry run says what stands there."""
    monkeypatch.chdir(tmp_path)
    for name, made in (("pictures_of", None), ("page", "<!doctype html>"), ("figures", {})):
        monkeypatch.setattr(pipeline, name, lambda run, *drawn, made=made: made)  # of no page
    text = (ROOT / "docs" / "data.md").read_text().partition("## A complete example")[2]
    text = text.partition("\n## ")[0]
    script, said = (
        re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("python", "")
    )
    exec(compile(script, "make_pets.py", "exec"), {})
    dry, real = commands(text)
    assert call(*dry) == 0
    assert said in capsys.readouterr().out
    assert call(*real, "--quiet", "--audits", "accuracy") == 0
    assert (tmp_path / "runs" / "ann" / "model.safetensors").exists()


def test_the_page_on_data_names_every_source_and_what_it_takes():
    text = (ROOT / "docs" / "data.md").read_text()
    assert not [name for name in (*SOURCES, *SPOILED) if f"`{name}" not in text]
    assert not [name for name in (*KEYS, *IMAGE, *LABEL) if f"`{name}`" not in text]
    assert not [kind for kind in FORMATS if kind.lower() not in text.lower()]
    assert f"{PIXELS:,} pixels" in text


@pytest.mark.parametrize("kind", ["`digits`", "`folder:`", "`npz:` of uint8", "`npz:` of floats"])
def test_the_page_on_data_says_what_training_may_do_to_images(kind, tmp_path):
    images = np.zeros((2, 8, 8), "float32" if "floats" in kind else "uint8")
    arrays = {f"{part}_images": images for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", train_labels=[0, 1], test_labels=[0, 1], **arrays)
    name = {"`digits`": "digits", "`folder:`": write_folder(tmp_path / "f")}
    data = load(name.get(kind, f"npz:{tmp_path / 'a.npz'}"))
    table = (ROOT / "docs" / "data.md").read_text().partition("training may |")[2]
    cells = next(line for line in table.splitlines() if kind in line).split("|")
    told = {"crop and mirror": ("crop", "flip"), "crop": ("crop",), "neither": ()}
    assert told[cells[4].strip()] == data.augment
    assert str(data.images.dtype).removeprefix("torch.") in cells[3]

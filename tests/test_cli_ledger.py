"""The ledger on the command line: the same steps as in Python, and what people see."""

import csv
import json
import re
import sys
import tempfile
from pathlib import Path

import pytest
import stub_worker

from unsee.cli import call
from unsee.ledger import CHECKLIST, TRANSITIONS, Ledger, Worker
from unsee.nouns import Config


@pytest.fixture
def unsee(tmp_path, monkeypatch, capsys):
    """Call a verb on a ledger of this test, and return exit code, stdout and stderr."""
    monkeypatch.setenv("UNSEE_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.chdir(tmp_path)

    def called(*words):
        code = call(*words)
        out, err = capsys.readouterr()
        return code, out, err

    return called


def served(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        worker = Worker(ledger, tmp_path / "jobs", name="w", run=stub_worker.pipeline)
        worker.serve(once=True)


def test_one_request_from_the_day_it_comes_in_to_the_answer(unsee, tmp_path):
    added = ("request", "add", "case-17", "--forget", "class=3", "--received", "2027-01-31")
    assert unsee(*added, "--as", "ana") == (0, "1\n", "")
    code, _, told = unsee("request", "approve", "1", "--as", "ana")
    assert code == 2 and "someone else to approve" in told and told.count("\n") == 1
    assert unsee("request", "approve", "1", "--as", "ben") == (0, "", "")
    asked = ("request", "extend", "1", "--until", "2027-03-31", "--as", "ben", "--why", "many")
    assert unsee(*asked) == (0, "", "")
    served(tmp_path)
    _, out, _ = unsee("request", "list")
    assert "2027-03-31" in out and "audited" in out and "case-17" in out
    assert max(map(len, out.splitlines())) <= 80
    _, out, _ = unsee("request", "show", "1")
    assert "audit grey" in out and "model     2, in use, instead of 1" in out
    assert "open      backups" in out and "extended to 2027-03-31, by ben: many" in out
    assert max(len(x) for x in out.splitlines() if "/jobs/" not in x) <= 80  # a path stays whole
    code, _, told = unsee("request", "close", "1", "--as", "ben")
    assert code == 2 and "--done source" in told
    kept = ("--not-done", "backups: gone in 30 days")
    rest = [word for item in CHECKLIST if item != "backups" for word in ("--done", item)]
    assert unsee("request", "close", "1", "--as", "ben", *rest, *kept)[1] == "partly_completed\n"
    assert "checklist done: source, by ben" in unsee("request", "show", "1")[1]
    assert unsee("request", "list")[1].count("\n") == 1
    assert "partly_completed" in unsee("request", "list", "--all")[1]
    assert "gone in 30 days" in " ".join(unsee("request", "answer", "1")[1].split())
    assert unsee("purge", "--as", "ben")[1] == "request 1: 1 files deleted, models retired: 1\n"
    _, out, _ = unsee("models")
    assert "retired" in out and "in use" in out
    code, out, _ = unsee("ledger", "verify")
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        rows = ledger.entries()
    assert (code, out) == (0, f"{len(rows)} rows, last hash {rows[-1].hash}\n")
    assert unsee("ledger", "verify", "--expect", rows[2].hash)[0] == 0


def test_a_ledger_that_was_changed_is_exit_3_and_the_row_is_named(unsee, tmp_path):
    unsee("request", "add", "case-17", "--forget", "class=3", "--as", "ana")
    unsee("request", "add", "case-18", "--forget", "class=3", "--as", "ana")
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger, ledger.writing() as log:
        log.connection.exec_driver_sql("DROP TRIGGER events_no_update")
        log.connection.exec_driver_sql("UPDATE events SET why = 'other' WHERE seq = 2")
    code, out, told = unsee("ledger", "verify")
    assert (code, out) == (3, "") and "got row 2, which is not what was written" in told
    code, _, told = unsee("ledger", "verify", "--expect", "0" * 64)
    assert code == 3


def test_an_export_is_written_whole_in_the_form_of_its_name(unsee, tmp_path):
    unsee("request", "add", "case-17", "--forget", "class=3", "--as", "=ana")
    assert unsee("ledger", "export", "--out", "a.csv")[:2] == (0, "a.csv\n")
    with open("a.csv", newline="") as file:
        assert [row["who"] for row in csv.DictReader(file)] == ["'=ana"]
    assert unsee("ledger", "export", "--out", "a.json")[0] == 0
    assert json.loads((tmp_path / "a.json").read_text())["requests"][0]["subject"] == "case-17"
    assert unsee("ledger", "export", "--out", "a.xlsx")[0] == 2
    assert unsee("ledger", "export", "--out", "a.csv")[0] == 2  # it exists


def test_json_says_what_the_lines_say(unsee, tmp_path):
    (tmp_path / "ids.txt").write_text("train/1\ntrain/2\n")
    unsee(
        "request", "add", "case-17", "--forget", "ids=ids.txt", "--as", "ana", "--due", "2099-01-01"
    )
    (listed,) = json.loads(unsee("request", "list", "--json")[1])
    assert (listed["number"], listed["due"], listed["count"]) == (1, "2099-01-01", 2)
    shown = json.loads(unsee("request", "show", "1", "--json")[1])
    assert shown["events"][0]["what"] == "received" and shown["models"] == []
    assert json.loads(unsee("models", "--json")[1]) == []


def test_a_method_that_is_none_is_refused_when_a_request_is_added(unsee, tmp_path):
    asked = ("request", "add", "case-1", "--forget", "class=3", "--as", "ana", "--method")
    for method, told in (("scurb", "Expected a --method among"), ("gone.py:f", "got gone.py")):
        code, _, said = unsee(*asked, method)
        assert code == 2 and told in said
    assert not (tmp_path / "ledger.sqlite").exists()


def test_what_a_request_would_touch_is_counted_and_its_file_of_ids_goes(unsee, tmp_path):
    (tmp_path / "ids.txt").write_text("train/00001\ntrain/00002\n")
    (tmp_path / "wrong.txt").write_text("5\n6\n")
    more = ("--as", "ana", "--data", "digits", "--arch", "convnet", "--train-epochs", "1")
    for n, rule in enumerate(("ids=ids.txt", "class=3", "ids=wrong.txt"), 1):
        assert unsee("request", "add", f"case-{n}", "--forget", rule, *more)[0] == 0
    code, out, _ = unsee("request", "preview", "1", "--quiet")
    assert code == 0 and "would forget 2 of 1437 training images of digits by 2 ids" in out
    assert "by class=3" in unsee("request", "preview", "2", "--quiet")[1]
    code, _, told = unsee("request", "preview", "3", "--quiet")
    assert code == 2 and "2 unknown: ['5', '6']" in told and "unsee-ids" not in told
    assert not [*Path(tempfile.gettempdir()).glob("unsee-ids-*")]


def test_which_images_is_said_on_demand_until_a_request_closes(unsee, tmp_path):
    (tmp_path / "ids.txt").write_text("train/00001\ntrain/00002\n")
    for n, rule in enumerate(("class=3", "ids=ids.txt"), 1):
        assert unsee("request", "add", f"case-{n}", "--forget", rule, "--as", "ana")[0] == 0
    assert "class=3" not in unsee("request", "show", "1")[1]
    assert unsee("request", "show", "1", "--scope")[1].endswith("images    class=3\n")
    assert unsee("request", "show", "2", "--scope")[1].endswith(
        "images    by these ids\n          train/00001\n          train/00002\n"
    )
    told = json.loads(unsee("request", "show", "2", "--scope", "--json")[1])
    assert told["scope"] == {"kind": "ids", "values": ["train/00001", "train/00002"]}
    assert "scope" not in json.loads(unsee("request", "show", "2", "--json")[1])
    unsee("request", "refuse", "2", "--as", "ben", "--why", "no")
    assert "nobody knows any more" in unsee("request", "show", "2", "--scope")[1]
    assert json.loads(unsee("request", "show", "2", "--scope", "--json")[1])["scope"] is None


def test_files_are_named_so_that_a_worker_elsewhere_finds_them(unsee, tmp_path):
    (tmp_path / "m.safetensors").write_text("a model")
    (tmp_path / "d.npz").write_text("data")
    (tmp_path / "own.py").write_text("a method")
    named = ("--model", "m.safetensors", "--data", "npz:d.npz", "--method", "own.py:fade")
    unsee("request", "add", "case-17", "--forget", "class=3", "--as", "ana", *named)
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger, ledger.reading() as connection:
        config = json.loads(connection.exec_driver_sql("SELECT config FROM requests").scalar())
    assert config["model"] == str(tmp_path / "m.safetensors")
    assert config["data"] == f"npz:{tmp_path / 'd.npz'}"
    assert config["method"] == f"{tmp_path / 'own.py'}:fade"
    asked = ("request", "add", "case-17", "--forget", "class=3", "--as", "ana")
    code, _, told = unsee(*asked, "--policy", "no")
    assert code == 2 and "Expected a file for --policy, got 'no'" in told


@pytest.mark.parametrize(
    "words, said",
    [
        (("request", "list"), "got no file there"),
        (("request", "add", "case-1", "--as", "ana"), "Expected --forget"),
        (("request", "add", "case-1", "--forget", "class=3"), "Expected --as"),
        (("request", "add", "Anna", "--forget", "class=3", "--as", "x"), "opaque subject"),
        (("request", "add", "c1", "--forget", "ids=no", "--as", "x"), "Expected a text file"),
        (("request", "add", "c1", "--forget", "class=3", "--as", "x", "--due", "1.1.27"), "a date"),
        (
            ("request", "add", "c1", "--forget", "class=3", "--as", "x", "--policy", "no"),
            "there is none",
        ),
        (
            ("request", "add", "c1", "--forget", "class=3", "--as", "x", "--seed", "-1"),
            "seed of 0 or more",
        ),
        (("request", "close", "1", "--as", "x", "--not-done", "backups"), "got no reason"),
        (("request", "extend", "1", "--as", "x", "--why", "y"), "Expected --until"),
        (("worker", "--lease", "0"), "seconds above 0"),
        (("purge", "--also", "x", "--as", "y"), "the ID of a request"),
        (("request", "nothing"), "No such command"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2_and_nothing_is_written(unsee, words, said, tmp_path):
    code, out, told = unsee(*words)
    assert not [*tmp_path.iterdir()]
    assert code == 2 and out == "" and said in told and told.count("\n") == 1


def test_without_sqlalchemy_it_says_what_to_install(unsee, monkeypatch):
    monkeypatch.setitem(sys.modules, "unsee.ledger", None)
    for words in (("list",), ("add", "case-1", "--forget", "class=3", "--as", "ana")):
        code, _, told = unsee("request", *words)
        assert code == 2 and "pip install 'unsee[ledger]'" in told


@pytest.fixture
def stubbed(monkeypatch):
    """Workers whose pipeline takes 50 ms."""
    defaults = Worker.__init__.__kwdefaults__ | {"run": stub_worker.pipeline}
    monkeypatch.setattr(Worker.__init__, "__kwdefaults__", defaults)


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch, capsys, stubbed):
    page = Path(__file__).parents[1] / "docs" / "erasure-requests.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "We have done so." in capsys.readouterr().out


def test_the_documentation_names_every_state_and_every_item():
    text = (Path(__file__).parents[1] / "docs" / "erasure-requests.md").read_text()
    assert not [state for state in TRANSITIONS if state not in text]
    assert not [item for item in CHECKLIST if f"`{item}`" not in text]
    assert not re.search(r"\bproof\b|complian|guarantee", text)


def test_a_worker_serves_what_is_approved_and_ends(unsee, tmp_path, stubbed):
    unsee("request", "add", "case-17", "--forget", "class=3", "--as", "ana")
    unsee("request", "approve", "1", "--as", "ben")
    assert unsee("worker", "--once", "--folder", "work", "--quiet")[0] == 0
    (listed,) = json.loads(unsee("request", "list", "--json")[1])
    assert listed["state"] == "audited"
    assert (tmp_path / "work" / "job-00001" / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("flag", ["--lease", "--poll"])
@pytest.mark.parametrize("seconds", ["inf", "nan", "0", "-1", "1e9"])
def test_a_worker_neither_sleeps_nor_holds_for_ever(unsee, flag, seconds):
    code, _, told = unsee("worker", flag, seconds)
    assert code == 2 and "a day at most" in told and told.count("\n") == 1


def test_a_long_list_is_cut_and_says_so(tmp_path, capsys):
    url = str(tmp_path / "ledger.sqlite")
    with Ledger(url) as ledger:
        for n in range(3):
            ledger.add(f"case-{n}", Config(data="digits"), by="ana", rule="class=1")
    assert call("request", "list", "--most", "2", "--ledger", url) == 0
    told = capsys.readouterr()
    assert told.out.count("case-") == 2 and "the first 2 of 3" in told.err
    assert call("request", "list", "--ledger", url) == 0
    told = capsys.readouterr()
    assert told.out.count("case-") == 3 and "first" not in told.err


def test_a_number_that_no_ledger_holds_is_no_bug(unsee):
    unsee("request", "add", "case-17", "--forget", "class=3", "--as", "ana")
    for number in ("0", str(2**31), "9" * 20):
        for verb in (("show",), ("answer",), ("approve", "--as", "ben")):
            code, out, told = unsee("request", verb[0], number, *verb[1:])
            assert code == 2 and not out and "value for 'ID'" in told, verb
    assert unsee("request", "list", "--most", "9" * 20)[0] == 2

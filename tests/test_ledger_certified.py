"""Certificates of runs that served requests: no certificate without its row, and the reverse."""

import hashlib
import json

import pytest
import runs
from finished import finished

import unsee
from unsee import folder
from unsee.certificate import new_key
from unsee.cli import call
from unsee.errors import LedgerError, StorageError
from unsee.ledger import CHECKLIST, Ledger, Worker
from unsee.ledger._chain import Log
from unsee.nouns import Config


@pytest.fixture
def ledger(url):
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def key(tmp_path):
    new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def full(path, content):
    raise StorageError("no room")


def pipeline(config, place):
    finished(place)
    return runs.example()


@pytest.fixture
def run(ledger, tmp_path):
    """The folder of a run that has served two requests at once."""
    for rule in ("class=1", "class=2"):
        number = ledger.add("case-1", Config(), by="ana", rule=rule)
        ledger.approve(number, by="ben")
    Worker(ledger, tmp_path / "jobs", name="w", run=pipeline).serve(once=True)
    return tmp_path / "jobs" / "job-00001" / "run"


def rows(ledger, number):
    found = [row for row in ledger.entries(number) if row.what == "certified"]
    return [(row, json.loads(row.details)) for row in found]


def test_a_certificate_names_the_last_row_of_the_log_and_a_row_names_it(ledger, run, key, tmp_path):
    before = ledger.entries()[-1]
    path = ledger.certify(run, key, by="ben")
    said = unsee.verify(path, key=tmp_path / "key.pub.pem").predicate
    assert said["ledger"] == {"requests": [1, 2], "row": before.seq, "hash": before.hash}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for number in (1, 2):
        [(row, details)] = rows(ledger, number)
        assert row.who == "ben" and details["certificate"] == digest
        assert details["made"] == said["made"] and details["hash"] == before.hash
    assert ledger.verify(said["ledger"]["hash"]).bad is None
    assert ledger.verify("f" * 64).bad is not None
    for number in (1, 2):
        ledger.close(number, by="ben", partly=True, why="red", done=[*CHECKLIST])
    assert ledger.verify().bad is None


def test_a_row_whose_file_was_lost_gets_the_same_file_again(ledger, run, key, monkeypatch):
    with monkeypatch.context() as m, pytest.raises(StorageError):
        m.setattr(folder, "write", full)
        ledger.certify(run, key, by="ben")
    assert not (run / "certificate.json").exists() and len(rows(ledger, 1)) == 1
    monkeypatch.setattr("unsee.certificate.now", lambda: "2031-01-01T00:00:00Z")
    content = ledger.certify(run, key, by="ben").read_bytes()
    [(_, details)] = rows(ledger, 1)
    assert hashlib.sha256(content).hexdigest() == details["certificate"]


def test_a_file_that_was_lost_beside_an_older_one_is_made_too(ledger, run, key, monkeypatch):
    first = ledger.certify(run, key, by="ben").read_bytes()
    with monkeypatch.context() as m, pytest.raises(StorageError):
        m.setattr(folder, "write", full)
        ledger.certify(run, key, by="ben")
    assert (run / "certificate.json").read_bytes() == first and len(rows(ledger, 1)) == 2
    second = ledger.certify(run, key, by="ben").read_bytes()
    assert len(rows(ledger, 1)) == 2
    assert hashlib.sha256(second).hexdigest() == rows(ledger, 1)[1][1]["certificate"]


def test_a_run_that_was_moved_with_the_folder_of_its_jobs_is_still_its_ledgers(
    ledger, run, key, tmp_path
):
    (tmp_path / "jobs").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "job-00001" / "run"
    assert ledger.served(moved) == [1, 2] and ledger.certify(moved, key, by="ben").exists()


def test_a_row_that_does_not_come_to_stand_leaves_no_file(ledger, run, key, monkeypatch):
    def cut(*anything, **more):
        raise ConnectionError("gone")

    with monkeypatch.context() as m, pytest.raises(ConnectionError):
        m.setattr(Log, "append", cut)
        ledger.certify(run, key, by="ben")
    assert not (run / "certificate.json").exists() and not rows(ledger, 1)


def test_signing_again_is_a_row_of_its_own_and_so_is_another_key(ledger, run, key, tmp_path):
    first = ledger.certify(run, key, by="ben").read_bytes()
    second = ledger.certify(run, key, by="ben").read_bytes()
    new_key(tmp_path / "other.pem")
    (run / "certificate.json").unlink()
    third = ledger.certify(run, tmp_path / "other.pem", by="ben").read_bytes()
    noted = [details["certificate"] for _, details in rows(ledger, 1)]
    assert noted == [hashlib.sha256(x).hexdigest() for x in (first, second, third)]
    assert len({*noted}) == 3 and ledger.verify().bad is None


def test_a_run_of_no_audited_request_is_refused(ledger, key, tmp_path):
    with pytest.raises(LedgerError, match="any other is certified without a ledger"):
        ledger.certify(finished(tmp_path / "own"), key, by="ben")
    ledger.approve(ledger.add("case-1", Config(), by="ana", rule="class=1"), by="ben")

    def asks_at_once(config, place):
        finished(place)
        with pytest.raises(LedgerError, match="which is running: wait"):
            ledger.certify(place, key, by="ben")
        return runs.example()

    Worker(ledger, tmp_path / "jobs", name="w", run=asks_at_once).serve(once=True)
    assert ledger.show(1).state == "audited" and not rows(ledger, 1)


def test_the_command_line_says_of_which_requests_a_certificate_is(
    ledger, url, run, key, capsys, monkeypatch
):
    monkeypatch.setenv("UNSEE_LEDGER", url)
    words = ("certify", str(run), "--key", str(key))
    monkeypatch.delenv("UNSEE_LEDGER")
    assert call(*words) == 2 and "its ledger is to know" in capsys.readouterr().err
    monkeypatch.setenv("UNSEE_LEDGER", url)
    assert call(*words) == 2 and "--as" in capsys.readouterr().err
    assert call(*words, "--as", "ben") == 0
    (path,) = capsys.readouterr().out.split()
    assert call("verify", path, "--key", str(key.with_name("key.pub.pem"))) == 0
    told = " ".join(capsys.readouterr().out.split())
    [(row, details)] = rows(ledger, 2)
    assert "ledger request 1, 2; its log had" in told
    assert f"verify --expect {details['hash']}" in told
    assert call("ledger", "verify", "--expect", details["hash"]) == 0
    assert call(*words, "--ledger", "", "--out", str(run / "alone.json")) == 0
    capsys.readouterr()
    assert call("verify", str(run / "alone.json")) == 0
    assert "ledger none was asked" in " ".join(capsys.readouterr().out.split())

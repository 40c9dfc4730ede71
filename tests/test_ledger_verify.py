"""What ``unsee ledger verify`` finds, column by column, and what a worker refuses to serve."""

import dataclasses
import json
import sys
import threading
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy
from test_ledger_worker import DONE, Served, approved, expire, states, taken, worker

from unsee.errors import BusyError, LeaseError
from unsee.ledger import CHECKLIST, Ledger, _jobs, _ledger, _letter
from unsee.nouns import Config

sys.path.insert(0, str(Path(__file__).parent.parent / "verify"))

import ledger_load  # noqa: E402
import list_page  # noqa: E402
import performance  # noqa: E402
import provenance  # noqa: E402

ALL = [*CHECKLIST]


@pytest.fixture
def ledger(url):
    with Ledger(url) as opened:
        yield opened


def changed(ledger, *statements):
    """Change tables other than the log behind the ledger's back."""
    with ledger.beating() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def row_of(ledger, number, what):
    return next(row.seq for row in ledger.entries(number) if row.what == what)


@pytest.fixture
def served(ledger, tmp_path):
    """Two requests that were served one after another, the first of them closed and purged."""
    first = ledger.add(
        "case-1", Config(), ids=["train/1", "train/2"], by="ana", received=date(2026, 3, 1)
    )
    ledger.approve(first, by="ben")
    work = worker(ledger, tmp_path)
    work.serve(once=True)
    ledger.close(first, by="ben", done=ALL[1:] + ALL[:1])
    (second,) = approved(ledger, "class=4")
    work.serve(once=True)
    ledger.purge(first, by="ben")
    ledger.tick(second, "caches", by="ben", done=False, why="there are none")
    assert ledger.verify().why == "" and [m.state for m in ledger.models()] == [
        *("retired", "superseded", "in use")
    ]
    return first, second


COLUMNS = [  # statement, of which request, the row that says otherwise, why
    ("UPDATE requests SET light = 'red' WHERE id = 1", 1, "audited", "light of request 1 is green"),
    ("UPDATE requests SET state = 'audited' WHERE id = 1", 1, "completed", "is completed, but"),
    ("UPDATE requests SET added_by = 'x' WHERE id = 1", 1, "received", "added_by of request 1 is"),
    ("UPDATE requests SET received = '2026-03-02' WHERE id = 1", 1, "received", "is 2026-03-01"),
    ("UPDATE requests SET due = '2026-05-01' WHERE id = 1", 1, "received", "it is 2026-05-01"),
    ("UPDATE requests SET count = 3 WHERE id = 1", 1, "received", "count of request 1 is 2, but"),
    ("UPDATE requests SET kind = 'where' WHERE id = 1", 1, "received", "is ids, but it is where"),
    ("UPDATE requests SET line = 2 WHERE id = 1", 1, "received", "the line of request 1 is 1"),
    ("UPDATE requests SET job = 2 WHERE id = 1", 1, "running", "the job of request 1 is 1"),
    ("UPDATE checklist SET answer = 'done'", 2, "checklist refused", "is refused, but it is done"),
    ("DELETE FROM checklist WHERE request = 2", 2, "checklist refused", "request 2 is gone"),
    ("UPDATE models SET sha256 = 'x' WHERE id = 1", 1, "audited", "the sha256 of model 1 is"),
    ("UPDATE models SET sha256 = 'x' WHERE id = 2", 1, "audited", "the sha256 of model 2 is"),
    ("UPDATE models SET parent = 1 WHERE id = 3", 2, "audited", "the parent of model 3 is 2, but"),
    ("UPDATE models SET line = 2 WHERE id = 3", 2, "audited", "the line of model 3 is 1, but"),
    ("UPDATE models SET state = 'in use' WHERE id = 2", 2, "audited", "is superseded, but"),
    ("UPDATE models SET state = 'superseded' WHERE id = 1", 1, "purged", "is retired, but"),
    ("UPDATE scopes SET value = '5' WHERE request = 2", 2, "received", "scope of request 2 is"),
    ("DELETE FROM keys WHERE request = 2", 2, "received", "but it is nothing"),
    ("UPDATE keys SET key = 'x' WHERE request = 2", 2, "received", "but it is nothing"),
    ("UPDATE requests SET config = '{}' WHERE id = 2", 2, "received", "config of request 2 is"),
]


@pytest.mark.parametrize("statement, number, what, why", COLUMNS)
def test_a_column_that_the_log_does_not_bear_out_is_named(
    ledger, served, statement, number, what, why
):
    changed(ledger, "INSERT INTO lines (id, original) VALUES (2, 'another')")
    assert ledger.verify().why == ""
    changed(ledger, statement)
    found = ledger.verify()
    assert found.bad == row_of(ledger, number, what) and why in found.why


@pytest.mark.parametrize(
    "statement, what",
    [
        (
            "INSERT INTO models (line, path, sha256, state, id) VALUES (1, 'a', 'b', 'in use', 9)",
            "model 9",
        ),
        (
            "INSERT INTO checklist (request, item, answer) VALUES (2, 'source', 'done')",
            "item source of request 2",
        ),
        (
            "INSERT INTO requests (id, subject, line, config, received, due, kind, count, state, "
            "added_by, light, alone) SELECT 9, subject, line, config, received, due, kind, count, "
            "state, added_by, light, alone FROM requests WHERE id = 2",
            "request 9",
        ),
    ],
)
def test_what_no_row_speaks_of_is_named(ledger, served, statement, what):
    changed(ledger, statement)
    found = ledger.verify()
    assert found.bad == found.count + 1 and f"should have added {what}" in found.why


def test_a_date_that_is_none_is_named_and_no_crash(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        approved(ledger, "class=3")
        changed(ledger, "UPDATE requests SET due = 'never'")
        assert ledger.verify().bad == 1 and "it is never" in ledger.verify().why


def test_a_long_history_is_borne_out(ledger, tmp_path):
    """Failures, repeats, batches, extensions and refusals: none of them looks like tampering."""
    config = Config()
    numbers = [ledger.add("case-1", config, ids=[f"train/{n}"], by="ana") for n in range(3)]
    for number in numbers:
        ledger.approve(number, by="ben")
        ledger.extend(number, date(2099, 1, 1), by="ben", why="many requests")
    with pytest.warns(UserWarning, match="KeyError"):
        worker(ledger, tmp_path, Served(KeyError("a"), KeyError("b"))).serve(once=True)
    assert sorted(states(ledger)) == ["audited", "audited", "failed"]
    failed = numbers[states(ledger).index("failed")]
    ledger.refuse(failed, by="ben", why="it fails")
    for number in numbers:
        if number != failed:
            ledger.close(number, by="ben", done=ALL[:-1], not_done={ALL[-1]: "nobody"})
            ledger.purge(number, by="ben")
    assert ledger.verify().why == ""


# What a worker takes.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scopes SET value = 'train/9' WHERE request = 2",
        "INSERT INTO scopes (id, request, value) VALUES (99, 2, 'train/9')",
        "DELETE FROM scopes WHERE request = 2",
        "DELETE FROM keys WHERE request = 2",
        "UPDATE requests SET config = replace(config, 'finetune', 'noop') WHERE id = 2",
    ],
)
@pytest.mark.parametrize("died", [False, True])
def test_a_request_that_is_not_the_one_that_was_approved_is_not_served(
    ledger, tmp_path, statement, died
):
    config = Config(method="finetune")
    for n in range(3):
        number = ledger.add("case-1", config, ids=[f"train/{n}"], by="ana")
        ledger.approve(number, by="ben")
    if died:
        assert taken(ledger, tmp_path).requests == (1, 2, 3)
        expire(ledger)
    changed(ledger, statement)
    run = Served()
    worker(ledger, tmp_path, run).serve(once=True)
    assert states(ledger) == ["audited", "failed", "audited"]
    assert "not those that were approved" in ledger.entries(2)[-1].why
    assert [ids for _, ids, _ in run.asked] == [["train/0", "train/2"]]


def test_a_run_folder_that_is_held_for_long_is_no_death(ledger, tmp_path):
    (number,) = approved(ledger, "class=3")
    busy = [BusyError("another process")] * (_jobs.MOST_DEATHS + 2)
    work = worker(ledger, tmp_path, Served(*busy))
    for _ in busy:
        assert work.step()
        expire(ledger)
    work.serve(once=True)
    told = [json.loads(row.details) for row in ledger.entries(number) if row.what == "taken over"]
    assert states(ledger) == ["audited"] and not any(row["died"] for row in told)


def test_who_paused_does_not_keep_the_job_by_a_late_sign_of_life(ledger, tmp_path):
    approved(ledger, "class=3")
    job = taken(ledger, tmp_path)
    with ledger.writing() as log:
        _jobs.hand_back(log, job, "w", pause=5.0)
    with pytest.raises(LeaseError), ledger.beating() as connection:
        _jobs.beat(connection, job, 600.0)


def test_a_claim_does_not_wait_for_a_worker_that_gives_a_sign_of_life(postgres, tmp_path):
    with Ledger(postgres()) as ledger:
        approved(ledger, "class=3")
        approved(ledger, "class=4", config=Config(seed=1))
        first = taken(ledger, tmp_path)
        expire(ledger)
        with ledger.beating() as connection:
            _jobs.beat(connection, first, 60.0)  # not committed yet: its lease looks ended
            found = []
            claims = threading.Thread(target=lambda: found.append(taken(ledger, tmp_path)))
            claims.start()
            claims.join(20)
            assert not claims.is_alive() and found[0].number != first.number
            assert found[0].requests == (2,)


# What is told to others.


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_an_export_is_one_snapshot_while_a_worker_writes(ledger, monkeypatch, kind):
    (number,) = approved(ledger, "class=3")
    real = _ledger.verified

    def meanwhile(connection, expected):
        found = real(connection, expected)
        ledger.extend(number, date(2099, 1, 1), by="ben", why="many requests")
        return found

    monkeypatch.setattr(_ledger, "verified", meanwhile)
    text = ledger.export(kind)
    assert len(ledger.entries()) == 3 and "extended" not in text
    if kind == "json":
        told = json.loads(text)
        assert told["last_hash"] == told["events"][-1]["hash"]
        assert told["requests"][0]["due"] != "2099-01-01"


def answered(tmp_path, config, run):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        (number,) = approved(ledger, "class=3", config=config)
        worker(ledger, tmp_path, run).serve(once=True)
        ledger.close(number, by="ben", done=ALL)
        assert ledger.verify().why == ""
        return " ".join(ledger.answer(number).split())


def test_training_anew_from_an_earlier_model_is_not_called_training_without_them(tmp_path):
    base = tmp_path / "base.safetensors"
    base.write_text("weights")
    told = answered(tmp_path, Config(method="retrain", init=str(base)), Served())
    assert "did not begin from nothing" in told and "may have been made with them" in told
    assert "evidence, not certainty" in told


def test_an_answer_says_what_the_run_itself_did_not_test(tmp_path):
    state = {"state": "unknown", "power": None}
    verdict = {
        "light": "amber",
        "policy": {"margins": {"few_shot_recall": 1, "membership_auc": 1}},
        "audits": {"membership_auc": state, "retain_accuracy": {"state": "pass", "power": False}},
    }

    def run(config, folder):
        Served()(config, folder)
        return dataclasses.replace(DONE, verdict=verdict)

    told = answered(tmp_path, Config(), run)
    words = _letter.AUDITS
    assert f"our rules name and that were not made: {words['few_shot_recall']}" in told
    assert f"nothing to compare their result with: {words['membership_auc']}" in told
    assert f"anything with so few images or models: {words['retain_accuracy']}" in told
    assert "too few models" not in told and "_" not in told


def test_the_page_shows_what_the_load_test_measured():
    told = json.loads(ledger_load.EVIDENCE.read_text())
    page = ledger_load.PAGE.read_text()
    shown = performance.with_section(page, ledger_load.SECTION, ledger_load.lines(told))
    assert shown == page
    assert len(told["load"]) == 2 and len(told["real"]["requests"]) == 5
    for _, requests, kills, once, _, errors, log in told["load"]:
        assert (requests, kills, once, errors) == (500, 50, 500, 0) and "as written" in log


def test_the_page_shows_how_fast_the_list_was_and_that_it_was_fast_enough():
    told, page = json.loads(list_page.RESULTS.read_text()), list_page.PAGE.read_text()
    shown = performance.with_section(page, list_page.SECTION, list_page.lines(told))
    assert shown == page
    assert (told["requests"], told["rows"]) == (10_000, 100_000)
    assert told["page"]["p95"] < 150 and told["command"]["p95"] < 600


@pytest.mark.parametrize(
    "file, decide",
    [(ledger_load.EVIDENCE, ledger_load.DECIDE), (list_page.RESULTS, list_page.DECIDE)],
    ids=["load", "list"],
)
def test_what_was_measured_is_of_the_sources_of_today(file, decide):
    told = json.loads(file.read_text())
    assert told["sources"] == provenance.of_files(decide), "make ledger"

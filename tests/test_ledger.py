"""A ledger of erasure requests: the same on SQLite and on PostgreSQL."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import resource
import sqlite3
import tempfile
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given, strategies as st

from unsee import data
from unsee.errors import BusyError, LedgerError, StorageError, UnseeError
from unsee.ledger import (
    CHECKLIST,
    CLOSED,
    TRANSITIONS,
    Ledger,
    Scope,
    _line,
    _open,
    _terms,
    _upgrade,
)
from unsee.ledger._chain import Entry, Log, canonical, checked
from unsee.ledger._requests import move
from unsee.ledger._schema import metadata, scopes
from unsee.ledger._states import follow
from unsee.nouns import Config

CONFIG = Config(data="digits")
ALL = [*CHECKLIST]


@pytest.fixture
def ledger(url):
    with Ledger(url) as opened:
        yield opened


def added(ledger, n=1, **more):
    asked = {"rule": "class=3", "by": "ana"} | more
    return [ledger.add(f"case-{k}", CONFIG, **asked) for k in range(n)][-1]


def at(ledger, number, *states):
    """Bring a request to a state as a worker would."""
    for state in states:
        with ledger.writing() as log:
            move(log, number, state, "worker")


def audited(ledger, **more):
    number = added(ledger, **more)
    ledger.approve(number, by="ben")
    at(ledger, number, "running", "audited")
    return number


# Requests.


def test_a_request_goes_from_the_day_it_comes_in_to_the_day_it_closes(ledger):
    number = ledger.add(
        "case-17", CONFIG, rule="class=3", by="ana", received=date(2027, 1, 31), why="by letter"
    )
    found = ledger.show(number)
    assert (found.subject, found.kind, found.state) == ("case-17", "class", "received")
    assert found.due == date(2027, 2, 28) and found.open
    ledger.approve(number, by="ben")
    ledger.extend(number, date(2027, 4, 30), by="ben", why="many requests")
    at(ledger, number, "running", "audited")
    ledger.tick(number, "backups", by="ana", done=False, why="overwritten in 30 days")
    rest = [name for name in ALL if name != "backups"]
    assert ledger.close(number, by="ben", done=rest) == "partly_completed"
    found = ledger.show(number)
    assert (found.state, found.due, found.open) == ("partly_completed", date(2027, 4, 30), False)
    assert ledger.answers(number) == dict.fromkeys(ALL, "done") | {"backups": "refused"}
    told = [(row.who, row.what, row.why) for row in ledger.entries(number)]
    assert told[:3] == [
        ("ana", "received", "by letter"),
        ("ben", "approved", ""),
        ("ben", "extended", "many requests"),
    ]
    assert ("ana", "checklist refused", "overwritten in 30 days") in told
    assert ledger.verify().why == "" and ledger.verify().count == len(ledger.entries())


def test_the_request_that_is_due_first_stands_first_and_closed_ones_are_left_out(ledger):
    late = added(ledger, received=date(2026, 3, 1))
    soon = added(ledger, received=date(2026, 2, 1))
    gone = added(ledger, received=date(2026, 1, 1))
    ledger.refuse(gone, by="ben", why="legal claims")
    assert [r.number for r in ledger.requests(open_only=True)] == [soon, late]
    assert [r.number for r in ledger.requests()] == [gone, soon, late]


@pytest.mark.parametrize("name", ["ana", "Ana", " ANA ", "ａｎａ"])
def test_who_adds_a_request_does_not_approve_it_however_the_name_is_spelt(ledger, name):
    number = added(ledger, by="ana")
    with pytest.raises(LedgerError, match="someone else to approve"):
        ledger.approve(number, by=name)
    assert ledger.show(number).state == "received" and ledger.verify().count == 1


@pytest.mark.parametrize("state", TRANSITIONS)
def test_a_state_is_followed_by_those_of_the_table_and_no_other(state):
    for to in TRANSITIONS:
        if to in TRANSITIONS[state]:
            follow(1, state, to)
        else:
            with pytest.raises(LedgerError, match=f"a state that {to} may follow, got {state}"):
                follow(1, state, to)


def test_a_step_that_may_not_follow_changes_nothing(ledger):
    number = added(ledger)
    for to in ("received", "running", "audited", "completed", "partly_completed", "failed"):
        with pytest.raises(LedgerError, match="got received: it can become approved or refused"):
            at(ledger, number, to)
    assert ledger.show(number).state == "received" and ledger.verify().count == 1


def test_a_refusal_an_extension_and_a_part_need_a_reason(ledger):
    number = audited(ledger)
    with pytest.raises(LedgerError, match="a reason"):
        ledger.close(number, by="ben", done=ALL, partly=True)
    with pytest.raises(LedgerError, match="a reason"):
        ledger.tick(number, "backups", by="ben", done=False)
    with pytest.raises(LedgerError, match="a reason"):
        ledger.extend(number, date(2099, 1, 1), by="ben", why=" ")
    with pytest.raises(LedgerError, match="a reason"):
        ledger.refuse(added(ledger), by="ben", why="")


def test_a_due_date_is_only_put_off_and_only_while_a_request_is_open(ledger):
    number = added(ledger, received=date(2026, 5, 31))
    for until in (date(2026, 6, 30), date(2026, 6, 1)):
        with pytest.raises(LedgerError, match="a date after 2026-06-30"):
            ledger.extend(number, until, by="ben", why="late")
    ledger.refuse(number, by="ben", why="legal claims")
    with pytest.raises(LedgerError, match="is refused"):
        ledger.extend(number, date(2027, 1, 1), by="ben", why="late")


def test_a_request_closes_when_all_of_its_checklist_is_answered(ledger):
    number = audited(ledger)
    with pytest.raises(LedgerError, match=r"got none for \['recipients'\]"):
        ledger.close(number, by="ben", done=ALL[:-1])
    assert ledger.answers(number) == {}  # that step was nothing as a whole
    assert ledger.close(number, by="ben", done=ALL) == "completed"
    with pytest.raises(LedgerError, match="nothing follows that"):
        ledger.close(number, by="ben", done=ALL)


def test_images_that_stay_in_the_training_data_keep_a_request_open(ledger):
    number = audited(ledger)
    with pytest.raises(LedgerError, match="out of the training data"):
        ledger.close(number, by="ben", done=ALL[1:], not_done={"source": "we need them"})
    assert ledger.show(number).state == "audited"


def test_a_red_audit_completes_no_request(ledger):
    number = audited(ledger)
    with ledger.writing() as log:
        log.connection.execute(sqlalchemy.text("UPDATE requests SET light = 'red'"))
    with pytest.raises(LedgerError, match="not red"):
        ledger.close(number, by="ben", done=ALL)
    told = ledger.close(number, by="ben", done=ALL, partly=True, why="the class is still known")
    assert told == "partly_completed"


def test_a_number_that_is_no_request_is_refused(ledger):
    for step in (ledger.show, lambda n: ledger.approve(n, by="ben")):
        with pytest.raises(LedgerError, match="the number of a request, got 77"):
            step(77)


# What people write.


@pytest.mark.parametrize(
    "token",
    [
        "anna@example.org",
        "Anna Meier",
        "Anna",
        "",
        " ",
        "+49 30 1234",
        "ü7",
        "a" * 200 + "1",
        "x1\n",
    ],
)
def test_what_may_be_a_name_is_no_subject(ledger, token):
    with pytest.raises(LedgerError, match="an opaque subject token"):
        ledger.add(token, CONFIG, rule="class=3", by="ana")
    assert ledger.requests() == []


@pytest.mark.parametrize("token", ["case-4711", "9f1c2b34-0000-4000-8000-00000000beef", "crm:7/2"])
def test_a_token_is_kept_as_it_is_and_nowhere_hashed(ledger, token):
    number = ledger.add(token, CONFIG, rule="class=3", by="ana")
    assert ledger.show(number).subject == token
    hashes = {hashlib.new(name, token.encode()).hexdigest() for name in ("md5", "sha1", "sha256")}
    assert not [h for h in hashes if h in ledger.export("json")]


@pytest.mark.parametrize("rule", ["", "class=", "colour=red", "ids", "random=3"])
def test_a_rule_that_names_no_images_is_refused(ledger, rule):
    with pytest.raises(LedgerError, match="Expected a "):
        ledger.add("case-1", CONFIG, rule=rule, by="ana")


def test_the_rules_are_those_of_the_data_but_for_the_one_that_draws():
    assert {*_terms.KINDS} == {*data._rules.RULES} - {"random"}


def test_ids_of_a_file_are_read_when_a_request_is_added(ledger, tmp_path):
    (tmp_path / "ids.txt").write_text("train/1\ntrain/2\n")
    number = ledger.add("case-1", CONFIG, rule=f"ids={tmp_path / 'ids.txt'}", by="ana")
    again = ledger.add("case-2", CONFIG, ids=["train/2", "train/1", "train/2"], by="ana")
    assert ledger.show(number).count == ledger.show(again).count == 2
    with pytest.raises(LedgerError, match="both or neither"):
        ledger.add("case-3", CONFIG, rule="class=3", ids=["a"], by="ana")


def test_which_images_a_request_is_about_is_known_until_it_closes(ledger):
    by_rule, by_ids = added(ledger), added(ledger, rule=None, ids=["b", " a ", "b"])
    assert ledger.scope(by_rule) == Scope("class", ("3",))
    assert ledger.scope(by_ids) == Scope("ids", ("b", "a"))
    assert Config.from_json(ledger.asked(by_ids).config) == dataclasses.replace(CONFIG, redact=True)
    at(ledger, by_rule, "approved", "running", "audited")
    assert ledger.asked(by_ids).stand.earlier == (
        Scope("class", ("3",)),
    )  # what its run leaves out
    assert ledger.asked(by_rule).stand.earlier == ()
    with ledger.writing() as log:
        log.connection.execute(sqlalchemy.update(scopes).values(value="b"))
    for step in (ledger.asked, partial(ledger.approve, by="ben")):
        with pytest.raises(LedgerError, match="as it was added, got another"):
            step(by_ids)
    by_rule = added(ledger)
    ledger.refuse(by_rule, by="ben", why="no")
    assert ledger.scope(by_rule) is None and ledger.scope(by_ids) is not None
    with pytest.raises(LedgerError, match="which is refused: nobody knows its images now"):
        ledger.asked(by_rule)
    with pytest.raises(LedgerError, match="Expected the number of a request, got 99"):
        ledger.scope(99)


def test_ids_of_a_closed_request_that_are_put_back_are_found_and_not_told(ledger):
    number = added(ledger)
    ledger.refuse(number, by="ben", why="no")
    assert ledger.verify().bad is None
    with ledger.writing() as log:
        log.connection.execute(sqlalchemy.insert(scopes).values(request=number, value="a"))
    assert ledger.scope(number) is None
    assert "images or a key of request 1, which is closed" in ledger.verify().why


@pytest.mark.parametrize("value", ["New  York", "a\u00a0b", "cafe\u0301/*", " x"])
def test_the_value_of_a_rule_is_kept_as_it_is(ledger, value):
    number = added(ledger, rule=f"path={value}")
    assert ledger.scope(number) == Scope("path", (value,))


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "a\u2028b", "x" * 2001])
def test_the_value_of_a_rule_is_one_line(ledger, value):
    with pytest.raises(LedgerError, match="Expected the value of a rule of at most 2000"):
        added(ledger, rule=f"class={value}")


def test_an_id_that_a_file_would_lose_the_beginning_of_is_refused(ledger):
    with pytest.raises(LedgerError, match="one line of text each"):
        added(ledger, rule=None, ids=["\ufeffx"])


@pytest.mark.parametrize(
    "place", ["", " ", ":memory:", "sqlite://", "sqlite:///:memory:", "file:x"]
)
def test_a_ledger_that_would_be_gone_with_its_process_is_refused(place):
    with pytest.raises(LedgerError, match="Expected a file for a ledger"):
        Ledger(place)


def test_a_log_without_its_head_is_found_and_nothing_is_added_to_it(ledger):
    added(ledger, 2)
    with ledger.writing() as log:
        log.connection.execute(sqlalchemy.text("DELETE FROM chain"))
    found = ledger.verify()
    assert (found.count, found.bad) == (2, 3) and "head of the log is gone" in found.why
    with pytest.raises(LedgerError, match="Expected the head of the log"):
        added(ledger)


@pytest.mark.parametrize("details", [None, "{"])
def test_a_request_whose_first_row_is_gone_or_no_json_is_another(ledger, details):
    one, two = added(ledger), added(ledger)
    change = f"SET details = '{details}'" if details else ""
    tampered(
        ledger, f"{'UPDATE events ' + change if details else 'DELETE FROM events'} WHERE seq = 1"
    )
    for step in (ledger.asked, partial(ledger.approve, by="ben")):
        with pytest.raises(LedgerError, match="as it was added, got another"):
            step(one)
    ledger.approve(two, by="ben")  # and holds nobody up


def test_a_hash_is_expected_however_it_was_copied(ledger):
    first = ledger.verify().last
    number = added(ledger)
    then = ledger.verify().last
    ledger.refuse(number, by="ben", why="no")
    for text in (first, then, then.upper(), f" {then}\n"):
        assert ledger.verify(text).bad is None
    assert ledger.verify("f" * 64).bad is not None


def test_the_options_of_an_address_of_sqlite_are_refused(tmp_path):
    with pytest.raises(LedgerError, match="the path of a file alone for a ledger, got mode behind"):
        Ledger(f"sqlite:///{tmp_path}/x.db?mode=memory")


def test_a_model_has_one_line_however_its_path_is_written(ledger, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.pt").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "a")
    names = ["m.pt", "./m.pt", "../a/m.pt", str(tmp_path / "a" / "m.pt")]
    for name in names:
        ledger.add("case-1", dataclasses.replace(CONFIG, model=name), by="ana", rule="class=3")
    assert {request.line for request in ledger.requests()} == {1}


def test_a_source_that_needs_no_place_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "x.npz").write_bytes(b"")
    found = {
        name: _line.absolute(dataclasses.replace(CONFIG, data=name)).data
        for name in ("digits", "backdoor:digits", "npz:x.npz", "mislabel:npz:./x.npz")
    }
    assert found == {
        "digits": "digits",
        "backdoor:digits": "backdoor:digits",
        "npz:x.npz": f"npz:{tmp_path}/x.npz",
        "mislabel:npz:./x.npz": f"mislabel:npz:{tmp_path}/x.npz",
    }
    with pytest.raises(LedgerError, match="Expected images at gone.npz for --data"):
        _line.absolute(dataclasses.replace(CONFIG, data="npz:gone.npz"))
    with pytest.raises(LedgerError, match="Expected a file for --method, got gone.py"):
        _line.absolute(dataclasses.replace(CONFIG, method="gone.py:f"))


def test_a_date_that_is_none_is_told_of(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:  # PostgreSQL takes dates alone
        added(ledger)
        with ledger.writing() as log:
            log.connection.execute(sqlalchemy.text("UPDATE requests SET due = 'garbage'"))
        with pytest.raises(LedgerError, match="as it was written.*unsee ledger verify"):
            ledger.requests()
        assert "due" in ledger.verify().why


def test_the_log_has_a_digest_of_the_ids_that_nobody_can_guess_without_its_key(ledger, tmp_path):
    asked = [ledger.add(f"case-{n}", CONFIG, ids=["train/1"], by="ana") for n in range(2)]
    digests = {json.loads(ledger.entries(n)[0].details)["scope"] for n in asked}
    assert len(digests) == 2  # the same ids, each under a key of its own
    plain = hashlib.sha256(b"train/1").hexdigest()
    assert "train/1" not in ledger.export("json") and plain not in ledger.export("json")
    told = set()
    for name in "ab":  # the same request of two ledgers: no key can be known beforehand
        with Ledger(f"sqlite:///{tmp_path / name}.sqlite") as other:
            number = other.add("case-0", CONFIG, ids=["train/1"], by="ana")
            told.add(json.loads(other.entries(number)[0].details)["scope"])
    assert len(told) == 2


@given(st.dates(max_value=date(9999, 11, 30)))
def test_a_month_later_is_the_same_day_or_the_last_one_of_that_month(day):
    found = _terms.month_after(day)
    following = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
    assert (found.year, found.month) == (following.year, following.month)
    assert found.day == day.day or (found + timedelta(days=1)).day == 1 and found.day < day.day


def test_a_month_that_no_calendar_has_is_refused():
    with pytest.raises(LedgerError, match="before December 9999"):
        _terms.month_after(date(9999, 12, 1))


# The log.


def rows_of(n=4):
    rows, previous = [], "0" * 64
    for seq in range(1, n + 1):
        row = Entry(seq, 1, "2026", "ana", "seen", "", canonical({"n": seq}), previous, "")
        rows.append(dataclasses.replace(row, hash=row.digest))
        previous = rows[-1].hash
    return rows


def test_the_hash_of_a_row_is_the_sha_256_of_its_canonical_json():
    row = rows_of(1)[0]
    text = (
        '{"at":"2026","details":"{\\"n\\":1}","previous":"' + "0" * 64 + '","request":1,"seq":1,'
        '"what":"seen","who":"ana","why":""}'
    )
    assert row.hash == hashlib.sha256(text.encode()).hexdigest()


def tampered(ledger, *statements):
    """Change the tables behind the ledger's back, as an administrator could."""
    sqlite = ledger.engine.dialect.name == "sqlite"
    drop = (
        ["DROP TRIGGER events_no_update", "DROP TRIGGER events_no_delete"]
        if sqlite
        else ["DROP TRIGGER events_no_change ON events"]
    )
    with ledger.writing() as log:
        for statement in (*drop, *statements):
            log.connection.execute(sqlalchemy.text(statement))


@pytest.mark.parametrize(
    "statement, bad, why",
    [
        ("UPDATE events SET who = 'eve' WHERE seq = 2", 2, "not what was written"),
        ("UPDATE events SET at = '2020' WHERE seq = 3", 3, "not what was written"),
        ("DELETE FROM events WHERE seq = 2", 2, "missing"),
        ("DELETE FROM events WHERE seq = 1", 1, "missing"),
        ("DELETE FROM events WHERE seq = 4", 4, "there should be 4 rows"),
        ("UPDATE events SET seq = 9 WHERE seq = 2", 2, "missing"),
        ("UPDATE requests SET state = 'completed' WHERE id = 1", 2, "is approved"),
        ("UPDATE requests SET due = '2030-01-01' WHERE id = 1", 1, "but it is 2030-01-01"),
        ("UPDATE chain SET seq = 3", 4, "head of the log"),
    ],
)
def test_the_first_row_that_was_changed_moved_or_taken_out_is_named(ledger, statement, bad, why):
    number = added(ledger)
    ledger.approve(number, by="ben")
    added(ledger, 2)
    assert ledger.verify().count == 4
    tampered(ledger, statement)
    found = ledger.verify()
    assert found.bad == bad and why in found.why


def test_rows_in_another_order_are_noticed(ledger):
    added(ledger, 3)
    swap = ("seq = 99 WHERE seq = 2", "seq = 2 WHERE seq = 3", "seq = 3 WHERE seq = 99")
    tampered(ledger, *(f"UPDATE events SET {part}" for part in swap))
    assert ledger.verify().bad == 2


def test_an_end_that_was_cut_off_with_care_is_seen_against_a_hash_that_was_printed(ledger):
    added(ledger, 3)
    last, before = ledger.entries()[-1].hash, ledger.entries()[-2].hash
    tampered(
        ledger,
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM keys WHERE request = 3",
        "DELETE FROM scopes WHERE request = 3",
        "DELETE FROM requests WHERE id = 3",
        f"UPDATE chain SET seq = 2, hash = '{before}'",
    )
    assert ledger.verify().bad is None  # nothing inside says so
    assert ledger.verify(last).bad == 3 and "hash expected" in ledger.verify(last).why
    assert ledger.verify(before).bad is None


@given(st.integers(0, 3), st.sampled_from(["who", "what", "why", "at", "details", "previous"]))
def test_no_field_of_a_row_can_be_changed_unnoticed(place, name):
    rows = rows_of()
    rows[place] = dataclasses.replace(rows[place], **{name: "other"})
    assert checked(rows, 4, rows[-1].hash).bad == place + 1


def test_the_database_itself_refuses_to_change_the_log(ledger):
    added(ledger)
    for statement in ("UPDATE events SET who = 'eve'", "DELETE FROM events"):
        with pytest.raises(LedgerError, match="the log is only added to"):
            with ledger.writing() as log:
                log.connection.execute(sqlalchemy.text(statement))
    assert ledger.verify().why == ""


def test_the_log_is_ordered_by_sequence_where_the_clock_goes_back(url):
    times = iter(datetime(2026, 3, 1, tzinfo=UTC) - timedelta(hours=n) for n in range(9))
    with Ledger(url, clock=lambda: next(times)) as ledger:
        number = added(ledger, received=date(2026, 3, 1))
        ledger.approve(number, by="ben")
        ledger.refuse(added(ledger, received=date(2026, 3, 1)), by="ben", why="legal claims")
        rows = ledger.entries()
        assert [row.what for row in rows] == ["received", "approved", "received", "refused"]
        assert [row.at for row in rows] == sorted((row.at for row in rows), reverse=True)
        assert ledger.verify().why == ""


def test_processes_that_make_one_ledger_at_once_make_it_once(url):
    failures = []

    def make():
        try:
            Ledger(url).engine.dispose()
        except UnseeError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger(url, create=False) as ledger:
        assert not failures and ledger.verify().count == 0


def test_writers_at_once_make_one_chain(url):
    with Ledger(url) as first:
        added(first)
    failures = []

    def work(name):
        try:
            with Ledger(url) as ledger:
                for _ in range(5):
                    added(ledger, by=name)
        except UnseeError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"client {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger(url) as ledger:
        assert not failures and len(ledger.requests()) == 21
        assert ledger.verify().count == 21 and ledger.verify().why == ""


# Copies for others.


def test_an_export_can_be_checked_without_us(ledger):
    number = audited(ledger)
    ledger.close(number, by="ben", done=ALL)
    found = json.loads(ledger.export("json"))
    previous = "0" * 64
    for row in found["events"]:
        told = row.pop("hash")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert row["previous"] == previous and hashlib.sha256(text.encode()).hexdigest() == told
        previous = told
    assert found["last_hash"] == previous == ledger.verify().last
    assert found["requests"][0]["state"] == "completed"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "  =1"])
def test_nothing_in_a_csv_is_a_formula(ledger, text):
    added(ledger, by=text, why=text)
    rows = [*csv.DictReader(io.StringIO(ledger.export("csv")))]
    assert rows[0]["who"] == rows[0]["why"] == f"'{' '.join(text.split())}"
    assert rows[0]["hash"] == ledger.verify().last


# The database.


def test_the_tables_are_those_that_the_migrations_make(ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with ledger.reading() as connection:
        options = {"version_table": _open.VERSION}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    script = ScriptDirectory(str(_upgrade.MIGRATIONS))
    assert [s.revision for s in script.walk_revisions()][::-1] == [*_open.SCHEMAS]


def test_sqlite_keeps_what_it_has_committed(tmp_path):
    with Ledger(str(tmp_path / "a.sqlite")) as ledger, ledger.reading() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
        assert found == ["wal", 2, 1, 1]


def test_an_older_ledger_is_upgraded_after_a_backup_and_keeps_what_it_holds(url):
    engine = (_open._sqlite if "://" not in url else _open._postgresql)(_open._url(url))
    _upgrade.upgrade(engine, None, lambda connection: None, to="m0001")
    facts = (
        "INSERT INTO lines (id, original) VALUES (1, '{}')",
        "INSERT INTO requests (id, subject, line, config, received, due, kind, count, state, "
        "added_by, light) VALUES (1, 'case-1', 1, '{}', '2026-01-01', '2026-02-01', 'class', 1, "
        "'received', 'ana', '')",
    )
    with engine.begin() as connection:
        for fact in facts:
            connection.execute(sqlalchemy.text(fact))
        details = {"due": "2026-02-01"}
        Log(connection, lambda: datetime(2026, 1, 1, tzinfo=UTC)).append(
            1, "ana", "received", **details
        )
    engine.dispose()
    with pytest.warns(UserWarning, match="brought up to date; as it was: "):
        ledger = Ledger(url)
    with ledger:
        assert ledger.show(1).subject == "case-1" and ledger.verify().why == ""
        if "://" in url:
            with ledger.reading() as connection:
                schemas = sqlalchemy.inspect(connection).get_schema_names()
            assert [name for name in schemas if name.endswith("_before_m0001")]
        else:
            backup = Path(f"{url}.before-m0001.bak")
            assert backup.stat().st_mode & 0o777 == Path(url).stat().st_mode & 0o777
            assert not [*backup.parent.glob("*.part*")]
            before = _open._sqlite(_open._url(str(backup)))
            with before.connect() as connection:
                assert "jobs" not in sqlalchemy.inspect(connection).get_table_names()
            before.dispose()


def test_a_newer_ledger_is_left_alone(ledger, url):
    with ledger.writing() as log:
        log.connection.execute(sqlalchemy.text("UPDATE unsee_schema SET version_num = 'm0099'"))
    with pytest.raises(LedgerError, match="'m0099', of a newer unsee: update this one"):
        Ledger(url)


def test_a_ledger_is_not_made_where_none_is_asked_for(tmp_path, url):
    with pytest.raises(LedgerError, match="Expected a ledger"):
        Ledger(url, create=False)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("url_", ["mysql://x/y", "://", "nonsense://x"])
def test_a_url_of_something_else_is_refused(url_):
    with pytest.raises(LedgerError, match="Expected a path or a URL of PostgreSQL"):
        Ledger(url_)


def test_a_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    with pytest.raises(LedgerError, match=r"got the tables \['cats'\]"):
        Ledger(str(path))
    (tmp_path / "text").write_text("not a database, by far" * 100)
    with pytest.raises(LedgerError, match="file is not a database"):
        Ledger(str(tmp_path / "text"))


def test_a_damaged_file_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "a.sqlite"
    with Ledger(str(path)) as ledger:
        added(ledger, 50)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="malformed"):
        with Ledger(str(path), create=False) as ledger:
            ledger.requests()


def test_a_locked_ledger_says_that_it_is_busy(tmp_path, monkeypatch):
    path = tmp_path / "a.sqlite"
    monkeypatch.setattr(_open, "WAIT", 0.1)
    with Ledger(str(path)) as ledger, Ledger(str(path)) as other:
        with ledger.writing(), pytest.raises(BusyError, match="try again"):
            added(other)
        assert ledger.requests() == []


def test_every_write_that_fails_leaves_the_ledger_old_or_new_and_never_mixed(tmp_path):
    """The size to which files may grow is cut, so that the operating system refuses writes."""
    path = tmp_path / "a.sqlite"
    with Ledger(str(path)) as ledger:
        number = added(ledger)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    outcomes = set()
    for limit in range(0, 90_000, 6_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with Ledger(str(path)) as ledger:
                added(ledger, why="x" * 1000)
            outcomes.add("done")
        except (StorageError, LedgerError) as error:
            outcomes.add(type(error).__name__)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with Ledger(str(path)) as ledger:
            found, rows = ledger.requests(), ledger.entries()
            assert ledger.verify().why == "" and len(found) == len(rows)
            assert ledger.show(number).state == "received"
    assert outcomes >= {"StorageError", "done"}


def test_a_connection_cut_at_any_statement_or_commit_leaves_a_step_whole_or_undone(ledger):
    """Closing is the longest step; what follows its COMMIT takes deleted ids off the disk."""
    seen, ends = [], Counter()

    def cut(_, *statement):
        seen.append(statement[1] if statement else "COMMIT")
        if len(seen) == n:
            raise sqlite3.OperationalError("the connection was cut")

    for n in range(1, 200):
        number = audited(ledger)
        before = ledger.export("json")
        seen.clear()
        for kind in ("before_cursor_execute", "commit"):
            sqlalchemy.event.listen(ledger.engine, kind, cut)
        told = ""
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                ledger.close(number, by="ben", done=ALL)
            told = "".join(str(each.message) for each in said)
        except (LedgerError, sqlite3.OperationalError) as error:
            told = str(error)
        finally:
            assert "was cut" in told or len(seen) < n
            for kind in ("before_cursor_execute", "commit"):
                sqlalchemy.event.remove(ledger.engine, kind, cut)
        if ledger.show(number).open:
            ends["undone"] += 1
            assert ledger.export("json") == before
            assert ledger.close(number, by="ben", done=ALL) == "completed"
        else:
            ends["whole"] += 1
            if ledger.engine.dialect.name == "sqlite":  # the other wraps no error of this one
                assert not told or told.startswith("this is done, but")
            assert "COMMIT" in seen[: n - 1]
        assert ledger.verify().why == ""
        if len(seen) < n:
            break
    assert ends["undone"] > 30 and seen[ends["undone"] - 1] == "COMMIT" and ends["whole"] > 0


def test_a_server_that_ends_a_session_mid_transaction_is_an_error_that_says_so(postgres):
    with Ledger(postgres()) as ledger:
        number = added(ledger)
        with pytest.raises(LedgerError, match="a database that answers"), ledger.writing() as log:
            move(log, number, "approved", "ben")
            mine = log.connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar()
            with ledger.reading() as other:
                ends = sqlalchemy.text(f"SELECT pg_terminate_backend({mine})")
                other.execute(ends)
            log.connection.execute(sqlalchemy.text("SELECT 1"))
        assert ledger.show(number).state == "received" and ledger.verify().why == ""


@pytest.fixture
def nobody():
    """Return a way to be a user without privileges for a while: root may write what nobody may."""

    @contextmanager
    def become():
        if os.getuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return become


@pytest.mark.parametrize("beside", [0o755, 0o777])
def test_a_file_that_may_only_be_read_says_so_and_stays_as_it_is(nobody, beside):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.sqlite"
        with Ledger(str(path)) as ledger:
            number = added(ledger)
        path.chmod(0o444)
        Path(place).chmod(beside)
        before = path.read_bytes()
        wanted = pytest.raises(StorageError, match="can be written.*nothing was changed")
        with nobody(), wanted, Ledger(str(path)) as ledger:
            assert ledger.show(number).state == "received" and ledger.verify().why == ""
            ledger.approve(number, by="ben")
        Path(place).chmod(0o755)
        assert path.read_bytes() == before


def test_a_transaction_that_may_only_read_says_so(postgres):
    """As all of them are on a standby."""
    with Ledger(postgres()) as ledger:
        number = added(ledger)
        wanted = pytest.raises(StorageError, match="read-only transaction.*nothing was changed")
        with wanted, ledger.writing() as log:
            log.connection.execute(sqlalchemy.text("SET TRANSACTION READ ONLY"))
            move(log, number, "approved", "ben")
        assert ledger.show(number).state == "received" and ledger.verify().why == ""


def test_a_deadlock_takes_one_step_back_whole_and_says_try_again(postgres):
    """Writers of a ledger take their locks in one order; others in the database may not."""
    with Ledger(postgres()) as ledger:
        first, second = added(ledger), added(ledger)
        lock = sqlalchemy.text("SELECT 1 FROM requests WHERE id = :id FOR UPDATE")
        with ledger.engine.connect() as other, ThreadPoolExecutor(1) as aside:
            other.execute(sqlalchemy.text("SET LOCAL deadlock_timeout = '1min'"))  # not the victim
            other.execute(lock, {"id": second})
            with pytest.raises(BusyError, match="deadlock.*try again"), ledger.writing() as log:
                move(log, first, "approved", "ben")
                waits = aside.submit(other.execute, lock, {"id": first})
                move(log, second, "approved", "ben")
            assert waits.result(timeout=30).scalar() == 1
            other.rollback()
        assert {x.state for x in ledger.requests()} == {"received"}
        assert ledger.verify().why == ""
        ledger.approve(second, by="ben")


def test_a_lock_that_is_not_had_in_time_says_try_again(postgres):
    url = postgres()
    with Ledger(url) as ledger, Ledger(url + "%20-clock_timeout%3D50") as other:
        number = added(ledger)
        with ledger.writing(), pytest.raises(BusyError, match="lock timeout.*try again"):
            other.approve(number, by="ben")
        other.approve(number, by="ben")


def test_closed_is_what_nothing_follows():
    assert {*CLOSED} == {"completed", "partly_completed", "refused"}

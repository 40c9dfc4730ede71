"""What a ledger asks of its database: upgrades, waiting, isolation, encodings, URLs and names."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy

from unsee.errors import BusyError, LedgerError
from unsee.ledger import Ledger, _database, _open, _upgrade
from unsee.nouns import Config


@pytest.fixture
def ledger(url):
    with Ledger(url) as opened:
        yield opened


def added(ledger, by="ana"):
    return ledger.add("case-1", Config(), rule="class=3", by=by)


def made_at(url, version="m0001"):
    engine = (_open._sqlite if "://" not in url else _open._postgresql)(_open._url(url))
    _upgrade.upgrade(engine, None, lambda connection: None, to=version)
    return engine


def test_a_copy_that_could_not_be_finished_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    made_at(str(path)).dispose()
    path.chmod(0o600)

    def full(part, backup):
        assert part.stat().st_mode & 0o777 == 0o600
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "replace", full)
        Ledger(str(path))
    assert not [x for x in tmp_path.iterdir() if "before" in x.name]
    with pytest.warns(UserWarning, match="as it was: .*before-m0001.bak"):
        Ledger(str(path)).engine.dispose()
    assert Path(f"{path}.before-m0001.bak").stat().st_mode & 0o777 == 0o600


def test_a_copy_in_a_schema_has_the_tables_of_the_ledger_alone(postgres):
    engine = made_at(postgres())
    with engine.begin() as connection:
        connection.exec_driver_sql('CREATE TABLE "Order" (x int)')
        here = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
    engine.dispose()
    with pytest.warns(UserWarning, match="as it was: schema"):
        ledger = Ledger(engine.url.render_as_string(hide_password=False))
    with ledger:
        tables = sqlalchemy.inspect(ledger.engine).get_table_names(schema=f"{here}_before_m0001")
        assert {"requests", "events"} <= {*tables} and "Order" not in tables


def test_names_of_copies_are_short_enough_for_a_server_and_of_one_schema():
    short, long = "ledger", "a" * 60
    assert _open.stem_of_copies(short) == short
    stems = {_open.stem_of_copies(long + end) for end in ("", "b", "c")}
    assert len(stems) == 3 and max(len(f"{x}_before_m0001_99".encode()) for x in stems) <= 63


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_a_server_that_isolates_more_by_itself_refuses_nobody(postgres, level):
    url = postgres()
    more = url + f"%20-cdefault_transaction_isolation%3D{level.replace(' ', '%5C%20')}"
    Ledger(more).engine.dispose()

    def add(who):
        with Ledger(more) as ledger:
            for _ in range(5):
                added(ledger)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(add, range(4))] == [None] * 4
    with Ledger(url) as ledger:
        assert len(ledger.requests()) == 20 and ledger.verify().why == ""


def test_a_writer_that_stands_still_does_not_hold_up_the_others_for_ever(postgres, monkeypatch):
    monkeypatch.setattr(_open, "WAIT", 0.5)
    url = postgres()
    with Ledger(url) as ledger, Ledger(url) as other, ledger.writing():
        with pytest.raises(BusyError, match="nothing was changed, try again"):
            added(other)
    monkeypatch.setattr(_open, "WAIT", 20.0)
    monkeypatch.setattr(_open, "STALLED", 1.0)
    with Ledger(url) as ledger, Ledger(url) as other:
        with pytest.raises(LedgerError, match="a database that answers"), ledger.writing() as log:
            assert added(other)  # once the server has put an end to what stands still
            log.append(None, "ana", "noted")
        assert len(other.requests()) == 1 and other.verify().why == ""


def test_a_name_in_letters_of_its_own_is_kept_whatever_the_client_is_set_to(postgres, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Ledger(postgres()) as ledger:
        added(ledger, by="Łukasz")
        assert ledger.entries()[0].who == "Łukasz" and ledger.verify().why == ""


def test_urls_as_others_write_them_and_passwords_that_would_be_shown():
    url = _open._url("postgres://ana:secret@host/db")
    assert url.drivername == "postgresql+psycopg" and url.host == "host"
    with pytest.raises(LedgerError, match="is written %40") as caught:
        Ledger("postgresql://ana:sec@ret@host/db")
    assert "ret" not in str(caught.value).replace("written", "")


def test_a_step_whose_ids_could_not_be_taken_off_the_disk_is_done_and_says_so(ledger, monkeypatch):
    def away(engine, *, rebuild):
        raise sqlalchemy.exc.OperationalError("VACUUM", {}, OSError("the disk is full"))

    number = added(ledger)
    monkeypatch.setattr(_database.traces, "scrub", away)
    with pytest.warns(UserWarning, match="this is done, but the database said the disk is full"):
        ledger.refuse(number, by="ben", why="law")
    assert ledger.show(number).state == "refused"


@pytest.mark.parametrize(
    "other",
    ["ana\u034f", "an\ufe0fa", "ana\u3164", "ana\u2800", "ana\u180b", "ａｎａ", "ANA", "aná"],
)
def test_a_name_that_looks_the_same_is_the_same(ledger, other):
    number = added(ledger)
    with pytest.raises(LedgerError, match="Expected someone else to approve"):
        ledger.approve(number, by=other)


def test_more_threads_than_connections_are_told_to_come_back(ledger, monkeypatch):
    ledger.engine.pool._timeout = 0.1
    with ExitStack() as stack, pytest.raises(BusyError, match="fewer threads"):
        for _ in range(20):
            stack.enter_context(ledger.reading())

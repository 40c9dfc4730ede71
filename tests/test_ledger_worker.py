"""Workers: each request is served once, whatever happens to who serves it."""

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy
import stub_worker
from conftest import small_config

from unsee import console, events, pipeline as pipelines
from unsee.errors import (
    BusyError,
    DamageError,
    LeaseError,
    LedgerError,
    OptionError,
    SplitError,
    StorageError,
)
from unsee.ledger import CHECKLIST, Ledger, Worker, _jobs
from unsee.ledger._jobs import claim
from unsee.ledger._schema import jobs as job_table, scopes
from unsee.ledger._terms import Scope
from unsee.ledger._worker import Served as Found, configured
from unsee.nouns import Config, Run

HERE = Path(__file__).parent
DONE = Run(data={}, forget={}, measurements={}, environment={}, seed=0, verdict={"light": "green"})


@pytest.fixture
def ledger(url):
    with Ledger(url) as opened:
        yield opened


def approved(ledger, *rules, config=None, **more):
    numbers = []
    for rule in rules:
        n = ledger.add("case-1", config or Config(), rule=rule, by="ana", **more)
        ledger.approve(n, by="ben")
        numbers.append(n)
    return numbers


class Served:
    """A pipeline that notes what it was asked, and writes models as large as a word."""

    def __init__(self, *failures):
        self.asked, self.failures = [], [*failures]

    def __call__(self, config, folder):
        found = Path(config.forget.removeprefix("ids="))
        ids = found.read_text().split() if config.forget.startswith("ids=") else []
        self.asked.append((config, ids, folder))
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        folder.mkdir(parents=True, exist_ok=True)
        if config.model is None:
            (folder / "original.safetensors").write_text("original")
        (folder / "model.safetensors").write_text(f"without {config.forget} {len(self.asked)}")
        return DONE


def test_the_jobs_of_two_ledgers_do_not_share_a_folder(tmp_path):
    """Both count from 1: a purge of one would take the other's models for its own."""
    with Ledger(str(tmp_path / "a.sqlite")) as a, Ledger(str(tmp_path / "b.sqlite")) as b:
        for each in (a, b):
            approved(each, "class=1")
        worker(a, tmp_path).serve(once=True)
        with pytest.raises(OptionError, match="with those of another: name one with --folder"):
            worker(b, tmp_path).serve(once=True)
        assert b.show(1).state == "approved"
        Worker(b, tmp_path / "others", name="w", run=Served()).serve(once=True)
        # a folder that was put in the place of another one
        (tmp_path / "others").rename(tmp_path / "away")
        (tmp_path / "jobs").rename(tmp_path / "others")
        b.close(1, by="ben", done=[*CHECKLIST])
        b.purge(1, by="ben")
        assert (tmp_path / "others" / "job-00001" / "run" / "model.safetensors").exists()
        assert (tmp_path / "others" / "job-00001" / "run" / "original.safetensors").exists()
        assert b.served(tmp_path / "others" / "job-00001" / "run") == []
        assert b.served(tmp_path / "away" / "job-00001" / "run") == [1]


def test_ids_of_a_request_that_was_changed_do_not_stay_in_its_folder(ledger, tmp_path):
    number = ledger.add("case-1", Config(), ids=["train/anna-1"], by="ana")
    ledger.approve(number, by="ben")
    job = taken(ledger, tmp_path)
    configured(job)
    assert (job.folder / "forget.txt").exists()
    expire(ledger)
    with ledger.beating() as connection:
        connection.execute(sqlalchemy.update(scopes).values(value="train/berta-1"))
    assert taken(ledger, tmp_path) is None and ledger.show(number).state == "failed"
    assert not (job.folder / "forget.txt").exists()


def worker(ledger, tmp_path, run=None, **more):
    asked = {"name": "w", "lease": 5.0, "poll": 0.01} | more
    return Worker(ledger, tmp_path / "jobs", run=run or Served(), **asked)


def taken(ledger, tmp_path, name="w", lease=5.0):
    with ledger.writing() as log:
        return claim(log, name, lease, tmp_path / "jobs")


def expire(ledger):
    with ledger.beating() as connection:
        connection.execute(sqlalchemy.update(job_table).values(until=1.0))


def states(ledger):
    return [r.state for r in sorted(ledger.requests(), key=lambda r: r.number)]


# What is served, and how.


def test_an_approved_request_is_served_and_names_the_model_that_replaces_the_original(
    ledger, tmp_path
):
    (number,) = approved(ledger, "class=3")
    ledger.add("case-2", Config(), rule="class=4", by="ana")  # nobody approved it
    run = Served()
    worker(ledger, tmp_path, run).serve(once=True)
    assert states(ledger) == ["audited", "received"] and ledger.show(number).light == "green"
    ((config, _, folder),) = run.asked
    assert (config.forget, config.model, config.redact) == ("class=3", None, True)
    (new,) = ledger.replaced_by(number)
    original, _ = ledger.models()
    assert (original.path, original.state) == (folder / "original.safetensors", "superseded")
    assert (new.path, new.parent, new.state) == (folder / "model.safetensors", 1, "in use")
    told = json.loads(ledger.entries(number)[-1].details)
    assert told["model"]["sha256"] == new.sha256 and ledger.verify().why == ""


def test_requests_that_one_run_can_serve_share_it(ledger, tmp_path):
    other = dataclasses.replace(Config(), seed=1)
    one = [ledger.add("case-1", Config(), ids=[f"train/{n}"], by="ana") for n in range(3)]
    for number in one:
        ledger.approve(number, by="ben")
    approved(ledger, "where=person:7", "where=person:8", "class=1", "class=2")
    approved(ledger, "class=1", config=other)
    run = Served()
    worker(ledger, tmp_path, run).serve(once=True)
    rules = [config.forget for config, _, _ in run.asked]
    assert run.asked[0][1] == ["train/0", "train/1", "train/2"]
    assert sorted(rules[1:]) == ["class=1", "class=1,2", "where=person:7", "where=person:8"]
    assert {*states(ledger)} == {"audited"} and len({r.job for r in ledger.requests()}) == 5


def test_classes_whose_names_have_commas_are_served_alone():
    assert _jobs.merged([Scope("class", ("a,b",)), Scope("class", ("c",))]) is None
    assert _jobs.merged([Scope("ids", ("a",)), Scope("class", ("c",))]) is None


def test_the_next_request_begins_with_the_model_of_the_one_before(ledger, tmp_path):
    (first,) = approved(ledger, "class=3")
    run = Served()
    work = worker(ledger, tmp_path, run)
    work.serve(once=True)
    second = ledger.add("case-2", Config(), ids=["train/7"], by="ana")
    ledger.approve(second, by="ben")
    work.serve(once=True)
    before, after = run.asked[0][2] / "model.safetensors", run.asked[1][0]
    assert after.model == str(before) and after.seed != run.asked[0][0].seed
    assert after.earlier == ("class=3",)  # its images are in no part of the second run
    assert [m.parent for m in ledger.models()] == [None, 1, 2]
    assert [m.number for m in ledger.replaced_by(first)] == [2, 3]  # and what descends from it
    assert [m.state for m in ledger.models()] == ["superseded", "superseded", "in use"]

    for number in (first, second):
        ledger.close(number, by="ben", done=[*CHECKLIST])
    (third,) = approved(ledger, "class=5")
    work.serve(once=True)
    assert run.asked[2][0].earlier == ()  # the images are out of the data by now
    assert not [*tmp_path.rglob("*.txt")]  # no ids lie about
    assert ledger.show(third).state == "audited" and ledger.verify().why == ""


def test_a_request_that_is_served_otherwise_is_put_to_the_same_model(ledger, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_text("mine")
    approved(ledger, "class=3", "class=4", config=Config(model=str(own)))
    approved(ledger, "class=5", config=Config(model=str(own), method="noop", seed=7, arch="x"))
    run = Served()
    work = worker(ledger, tmp_path, run)
    work.serve(once=True)
    assert [config.forget for config, _, _ in run.asked] == ["class=3,4", "class=5"]
    first, second = run.asked
    assert second[0].model == str(first[2] / "model.safetensors") and second[0].method == "noop"
    assert second[0].earlier == ("class=3", "class=4")
    newest = ledger.models()[-1]
    approved(ledger, "class=6", config=Config(model=str(newest.path)))
    work.serve(once=True)
    assert ledger.models()[-1].parent == newest.number and len(ledger.models()) == 4


def test_earlier_ids_are_named_until_their_request_closes(ledger, tmp_path):
    seen = []

    def run(config, folder):
        seen.append([Path(rule[4:]).read_text().split() for rule in config.earlier])
        return Served()(config, folder)

    for n in range(2):
        number = ledger.add("case-1", Config(), ids=[f"train/{n}"], by="ana")
        ledger.approve(number, by="ben")
        worker(ledger, tmp_path, run).serve(once=True)
    assert seen == [[], [["train/0"]]]


def test_ids_are_gone_before_the_last_word_of_a_job_is_final(ledger, tmp_path):
    place, left = tmp_path / "jobs" / "job-00001", {}

    def look(connection):
        state = connection.execute(sqlalchemy.select(job_table.c.state)).scalar()
        left.setdefault(state, [path.name for path in place.glob("*.txt*")])

    def run(config, folder):
        (folder.parent / "forget.txt.12-0123abcd.part").write_text("of a killed worker")
        sqlalchemy.event.listen(ledger.engine, "commit", look)
        with ledger.beating():
            pass
        return Served()(config, folder)

    ledger.approve(ledger.add("case-1", Config(), ids=["train/1"], by="ana"), by="ben")
    worker(ledger, tmp_path, run).serve(once=True)
    assert sorted(left["running"]) == ["forget.txt", "forget.txt.12-0123abcd.part"]
    assert left["done"] == [] and states(ledger) == ["audited"]


def test_a_model_of_ones_own_is_never_written_to(ledger, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_text("mine")
    config = Config(model=str(own))

    def careless(config, folder):
        Path(config.model).write_text("another")
        return Served()(config, folder)

    approved(ledger, "class=3", config=config)
    with pytest.warns(UserWarning, match="ModelError"):
        worker(ledger, tmp_path, careless).serve(once=True)
    assert "untouched by the run" in (tmp_path / "jobs" / "job-00001" / "error.txt").read_text()
    assert states(ledger) == ["failed"] and ledger.models() == []


def test_a_model_that_was_exchanged_is_not_built_upon(ledger, tmp_path):
    approved(ledger, "class=3")
    work = worker(ledger, tmp_path)
    work.serve(once=True)
    ledger.models()[-1].path.write_text("exchanged")
    approved(ledger, "class=4")
    with pytest.warns(UserWarning, match="ModelError"):
        work.serve(once=True)
    assert "put the file back" in (tmp_path / "jobs" / "job-00002" / "error.txt").read_text()
    assert states(ledger) == ["audited", "failed"]


# What fails.


def test_a_run_that_fails_is_noted_by_its_kind_and_may_be_approved_again(ledger, tmp_path):
    (number,) = approved(ledger, "where=person:anna")
    run = Served(DamageError("Expected accuracy to stay, got less for person:anna"))
    with pytest.warns(UserWarning, match="DamageError"):
        worker(ledger, tmp_path, run).serve(once=True)
    row = ledger.entries(number)[-1]
    assert (row.what, row.why) == ("failed", "DamageError") and "anna" not in ledger.export("json")
    ledger.approve(number, by="ben", why="there is room again")
    worker(ledger, tmp_path, run).serve(once=True)
    assert states(ledger) == ["audited"] and ledger.verify().why == ""


def test_a_bad_request_does_not_fail_those_that_shared_its_run(ledger, tmp_path):
    def run(config, folder):
        if "train/no" in Path(config.forget[4:]).read_text():
            raise SplitError("Expected ids like train/1, got train/no")
        return Served()(config, folder)

    for name in ("train/1", "train/no", "train/3"):
        ledger.approve(ledger.add("case-1", Config(), ids=[name], by="ana"), by="ben")
    with pytest.warns(UserWarning, match="SplitError"):
        worker(ledger, tmp_path, run).serve(once=True)
    assert states(ledger) == ["audited", "failed", "audited"]


def test_what_a_worker_prints_names_no_image(ledger, tmp_path, capfd):
    def run(config, folder):
        with events.stage("split"):
            events.warn("2 twins, such as train/0-anna")
            raise SplitError("Expected ids like train/1, got train/0-anna")

    numbers = approved(ledger, "where=person:anna")
    with console.progress(quiet=True):
        worker(ledger, tmp_path, run).serve(once=True)
    printed = " ".join(capfd.readouterr().err.split())
    assert f"requests {numbers}: SplitError at test_ledger_worker.py:" in printed
    assert "may name images" in printed and "anna" not in printed
    text = tmp_path / "jobs" / "job-00001" / "error.txt"
    assert str(text) in printed and "train/0-anna" in text.read_text()


@pytest.mark.parametrize("error", [StorageError("full"), MemoryError(), KeyError("a bug")])
def test_a_worker_outlives_what_a_run_raises(ledger, tmp_path, error):
    approved(ledger, "where=a:1", "where=a:2")
    with pytest.warns(UserWarning, match=type(error).__name__):
        worker(ledger, tmp_path, Served(error)).serve(once=True)
    assert states(ledger) == ["failed", "audited"]


def test_a_run_folder_that_another_process_holds_is_tried_later(ledger, tmp_path):
    approved(ledger, "class=3")
    work = worker(ledger, tmp_path, Served(BusyError("another process")), lease=0.2)
    work.step()
    assert states(ledger) == ["running"] and taken(ledger, tmp_path) is None
    time.sleep(0.25)
    work.serve(once=True)
    assert states(ledger) == ["audited"]


def test_a_run_that_was_begun_with_other_data_is_begun_anew(ledger, tmp_path):
    first, second = (ledger.add("case-1", Config(), ids=[f"train/{n}"], by="ana") for n in range(2))
    run = Served()
    ledger.approve(first, by="ben")
    worker(ledger, tmp_path, run).serve(once=True)
    ledger.approve(second, by="ben")
    with pipelines.opened(taken(ledger, tmp_path).folder / "run", "words of a dead worker"):
        pass
    expire(ledger)
    ledger.close(first, by="ben", done=[*CHECKLIST])  # so it is no earlier request any more

    def strict(config, folder):
        with pipelines.opened(folder, f"earlier: {config.earlier}"):
            return run(config, folder)

    with pytest.warns(UserWarning, match="RunError"):
        worker(ledger, tmp_path, strict).serve(once=True)
    assert states(ledger) == ["completed", "audited"] and ledger.show(second).job == 3
    assert run.asked[-1][0].earlier == () and ledger.verify().why == ""


# Leases.


def test_two_workers_never_hold_one_request(ledger, tmp_path):
    approved(ledger, *(f"where=a:{n}" for n in range(3)))
    assert taken(ledger, tmp_path).requests == (1,)
    assert taken(ledger, tmp_path) is None  # one run after another on one model
    expire(ledger)
    assert taken(ledger, tmp_path, "v").requests == (1,)


def test_a_job_is_taken_over_when_its_lease_has_ended_and_late_writes_are_refused(ledger, tmp_path):
    (number,) = approved(ledger, "class=3")
    late = taken(ledger, tmp_path, "late")
    expire(ledger)
    next_ = taken(ledger, tmp_path, "next")
    assert next_.number == late.number and next_.folder == late.folder
    model = _jobs.Model(1, 1, None, Path("m"), "0" * 64, "in use")
    before = ledger.export("json")
    for words in (
        lambda log: _jobs.finish(log, late, "late", model, "green"),
        lambda log: _jobs.fail(log, late, "late", "why"),
        lambda log: _jobs.hand_back(log, late, "late"),
        lambda log: _jobs.beat(log.connection, late, 5.0),
    ):
        with pytest.raises(LeaseError, match="another's"), ledger.writing() as log:
            words(log)
    assert ledger.export("json") == before and ledger.show(number).state == "running"


def test_a_worker_that_comes_too_late_leaves_the_folder_to_the_one_that_works(ledger, tmp_path):
    number = ledger.add("case-1", Config(), ids=["train/1"], by="ana")
    ledger.approve(number, by="ben")
    left = []

    def run(config, folder):
        expire(ledger)
        taken(ledger, tmp_path, "next")
        left.append(Path(config.forget[4:]))
        raise StorageError("full")

    with pytest.warns(UserWarning):
        worker(ledger, tmp_path, run).step()
    assert left[0].read_text() == "train/1\n" and states(ledger) == ["running"]
    assert not [*tmp_path.rglob("error.txt")]


def test_finishing_twice_is_nothing(ledger, tmp_path):
    approved(ledger, "class=3")
    job = taken(ledger, tmp_path)
    work = worker(ledger, tmp_path)
    files = [(tmp_path / "a", "0" * 64), (tmp_path / "b", "1" * 64)]
    work._finish(job, Found(*files, "green"))
    before = ledger.export("json")
    work._finish(job, Found(*files, "green"))
    assert ledger.export("json") == before and len(ledger.models()) == 2


def test_a_worker_that_lives_keeps_its_lease(ledger, tmp_path):
    approved(ledger, "class=3")

    def slow(config, folder):
        time.sleep(2.5)
        assert taken(ledger, tmp_path, "thief") is None
        return Served()(config, folder)

    worker(ledger, tmp_path, slow, lease=2.0).serve(once=True)
    assert states(ledger) == ["audited"]


def test_a_run_stops_when_it_tells_something_after_its_lease_was_lost(ledger, tmp_path):
    approved(ledger, "class=3")

    def run(config, folder):
        with ledger.beating() as connection:
            connection.execute(sqlalchemy.update(job_table).values(token="another's"))
        for _ in range(200):
            time.sleep(0.02)
            events.tell("progress")
        raise AssertionError("it went on")

    with pytest.warns(UserWarning, match="another worker that took it over"):
        worker(ledger, tmp_path, run, lease=0.2).step()
    assert states(ledger) == ["running"]


def test_a_clock_of_the_database_that_goes_back_makes_no_lease_endless(
    ledger, tmp_path, monkeypatch
):
    approved(ledger, "class=3")
    real = _jobs.now
    monkeypatch.setattr(_jobs, "now", lambda connection: real(connection) + 7200)
    first = taken(ledger, tmp_path, "a", lease=60.0)
    monkeypatch.undo()  # two hours back
    second = taken(ledger, tmp_path, "b", lease=60.0)
    assert second.number == first.number and second.token != first.token


def test_a_job_that_kills_its_workers_fails_in_the_end(ledger, tmp_path):
    number = ledger.add("case-1", Config(), ids=["train/0-anna"], by="ana")
    ledger.approve(number, by="ben")
    for _ in range(_jobs.MOST_DEATHS + 1):
        job = taken(ledger, tmp_path)
        assert job.requests == (number,)
        configured(job)
        expire(ledger)
    assert (job.folder / "forget.txt").exists()
    assert taken(ledger, tmp_path) is None
    assert [*job.folder.iterdir()] == []
    row = ledger.entries(number)[-1]
    assert row.what == "failed" and "workers died of it" in row.why


def test_a_stopped_worker_hands_its_work_back(ledger, tmp_path):
    (number,) = approved(ledger, "class=3")

    def stopped(config, folder):
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        worker(ledger, tmp_path, stopped, lease=600.0).step()
    assert ledger.entries(number)[-1].what == "handed back"
    worker(ledger, tmp_path).serve(once=True)  # at once, not in ten minutes
    assert states(ledger) == ["audited"]


def test_a_line_keeps_the_container_that_its_original_has(ledger, tmp_path):
    (tmp_path / "original.pt").write_bytes(b"original")
    begun = []

    def run(config, folder):
        folder.mkdir(parents=True)
        begun.append(Path(config.model).name)
        for name in ("model.safetensors", "model.pt")[: 1 + config.model.endswith(".pt")]:
            (folder / name).write_text(f"{name} of job {len(begun)}")
        return Run(data={}, forget={}, measurements={}, environment={}, seed=0)

    config = Config(model=str(tmp_path / "original.pt"))
    for rule in ("class=1", "class=2"):
        ledger.approve(ledger.add("case-1", config, by="ana", rule=rule), by="ben")
        Worker(ledger, tmp_path / "jobs", name="w", run=run).serve(once=True)
    assert begun == ["original.pt", "model.pt"]
    (used,) = [model for model in ledger.models() if model.state == "in use"]
    assert used.path == tmp_path / "jobs" / "job-00002" / "run" / "model.pt"


def test_a_signal_ends_a_worker_whose_ledger_is_away(ledger, tmp_path, monkeypatch):
    ledger.approve(ledger.add("case-1", Config(), by="ana", rule="class=1"), by="ben")

    def away(*_, **__):
        raise LedgerError("Expected a database that answers")

    def stopped(config, folder):
        monkeypatch.setattr(ledger, "writing", away)
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        Worker(ledger, tmp_path / "jobs", name="w", run=stopped).serve()


def test_a_ledger_that_is_away_for_a_moment_is_asked_again(ledger, tmp_path, monkeypatch):
    approved(ledger, "class=3")
    work, step, tries = worker(ledger, tmp_path), Worker.step, []

    def shaky(self):
        tries.append(1)
        if len(tries) < 3:
            raise LedgerError("the server starts again")
        if len(tries) > 4:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Worker, "step", shaky)
    with pytest.warns(UserWarning, match="starts again"), pytest.raises(KeyboardInterrupt):
        work.serve()
    assert states(ledger) == ["audited"]


# Processes.


def test_a_worker_on_the_command_line_hands_back_on_sigterm(tmp_path):
    url = str(tmp_path / "ledger.sqlite")
    config = small_config(tmp_path)
    config = dataclasses.replace(config, train_epochs=5000, oracle="none")
    with Ledger(url) as ledger:
        (number,) = approved(ledger, "class=c", config=config)
        command = [sys.executable, "-m", "unsee", "worker", "--ledger", url, "--quiet"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        place = ("--folder", str(tmp_path / "jobs"), "--lease", "600")
        process = subprocess.Popen([*command, *place], env=environment, stderr=subprocess.PIPE)
        log, end = tmp_path / "jobs" / "job-00001" / "run" / "events.jsonl", time.monotonic() + 180
        while not (log.exists() and '"progress"' in log.read_text()):
            assert process.poll() is None and time.monotonic() < end, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 143
        assert ledger.entries(number)[-1].what == "handed back"
        assert taken(ledger, tmp_path).requests == (number,)


def test_workers_that_are_killed_at_random_serve_each_request_once(url, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stub_worker", "sqlalchemy.dialects.postgresql.psycopg"])
    rng, alive, killed = random.Random(0), {}, 0
    busy = sqlalchemy.select(job_table.c.worker).where(job_table.c.state == "running")
    with Ledger(url) as ledger:
        for n in range(40):
            config = dataclasses.replace(Config(), seed=n % 6)  # six models
            approved(ledger, f"where=person:{n}", config=config)

        def start():
            name = f"w{killed + len(alive)}"
            asked = (url, str(tmp_path / "jobs"), name, 1.0)
            alive[name] = context.Process(target=stub_worker.work, args=asked, daemon=True)
            alive[name].start()

        for _ in range(3):
            start()
        end = time.monotonic() + 100
        try:
            while {*states(ledger)} != {"audited"}:
                assert time.monotonic() < end, states(ledger)
                time.sleep(rng.uniform(0.01, 0.3))
                with ledger.reading() as connection:
                    at_work = [x for x in connection.execute(busy).scalars() if x in alive]
                if killed < 10 and at_work:
                    victim = alive.pop(rng.choice(at_work))
                    victim.kill()
                    victim.join()
                    killed += 1
                    start()
        finally:
            for process in alive.values():
                process.kill()
                process.join()
        rows = ledger.entries()
        assert killed and "taken over" in {row.what for row in rows} and ledger.verify().why == ""
        for number in range(1, 41):
            assert [r.what for r in rows if r.request == number].count("audited") == 1
        models = ledger.models()
        assert len(models) == 46 and len({m.sha256 for m in models if m.parent}) == 40
        assert all(m.path.exists() for m in models) and not [*tmp_path.rglob("forget.txt")]
        assert len([m for m in models if m.state == "in use"]) == 6


def test_workers_at_once_share_the_work(url, tmp_path):
    with Ledger(url) as ledger:
        for n in range(12):
            approved(ledger, "class=3", config=dataclasses.replace(Config(), seed=n))

        def work(name):
            with Ledger(url) as own:
                worker(own, tmp_path, stub_worker.pipeline, name=name).serve(once=True)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {*states(ledger)} == {"audited"} and ledger.verify().why == ""
        assert len({r.who for r in ledger.entries() if r.what == "audited"}) > 1


def test_real_runs_follow_each_other_on_one_model(tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipelines, "page", lambda run, drawn: "<!doctype html>")
    monkeypatch.setattr(pipelines, "figures", lambda run, drawn: {})
    config = dataclasses.replace(small_config(tmp_path), oracle="none", guard=1.0)
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger, events.noted() as notes:
        for ids in (["train/00000", "train/00003"], ["train/00001"]):
            number = ledger.add("case-1", config, ids=ids, by="ana")
            ledger.approve(number, by="ben")
            Worker(ledger, tmp_path / "jobs", name="w").serve(once=True)
        assert states(ledger) == ["audited"] * 2, notes
        first, second = (tmp_path / "jobs" / f"job-0000{n}" / "run" for n in (1, 2))
        assert json.loads((second / "config.json").read_text())["model"] == str(
            first / "model.safetensors"
        )
        told = [json.loads((run / "audit.json").read_text()) for run in (first, second)]
        assert [run["forget"]["count"] for run in told] == [2, 1]
        kept = [run["data"]["counts"]["retain"] for run in told]
        assert kept[1] == kept[0] - 1  # two are gone for good, and one goes now
        assert not [*tmp_path.glob("jobs/*/*.txt")]


def test_a_copy_of_a_version_or_its_other_container_is_of_the_same_line(ledger, tmp_path):
    own = tmp_path / "own.pt"
    own.write_text("mine")

    def run(config, folder):
        done = Served()(config, folder)
        (folder / "model.safetensors").write_text(f"from {config.model}")
        (folder / "model.pt").write_text(f"the same from {config.model}")
        return done

    approved(ledger, "class=3", config=Config(model=str(own)))
    worker(ledger, tmp_path, run).serve(once=True)
    (used,) = [model for model in ledger.models() if model.state == "in use"]
    copy = tmp_path / "in-production.pt"
    copy.write_bytes(used.path.read_bytes())
    moved = own.rename(tmp_path / "moved.pt")
    for path in (copy, moved, used.path.with_suffix(".safetensors")):
        with pytest.warns(UserWarning, match=f"{path.name} is model [12] of line 1: it is served"):
            (number,) = approved(ledger, "class=4", config=Config(model=str(path)))
        assert ledger.show(number).line == 1
    other = tmp_path / "other.pt"
    other.write_text("another model")
    (number,) = approved(ledger, "class=5", config=Config(model=str(other)))
    assert ledger.show(number).line == 2


def test_a_run_that_leaves_the_model_as_it_was_has_not_served_anybody(ledger, tmp_path):
    def idle(config, folder):
        done = Served()(config, folder)
        (folder / "model.safetensors").write_text("original")
        return done

    approved(ledger, "class=3")
    with pytest.warns(UserWarning, match="ModelError"):
        worker(ledger, tmp_path, idle).serve(once=True)
    assert "the guard has kept" in (tmp_path / "jobs" / "job-00001" / "error.txt").read_text()
    assert states(ledger) == ["failed"] and ledger.models() == []

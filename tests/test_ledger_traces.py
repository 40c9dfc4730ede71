"""What is left of the ids and images of a closed request: nothing of ours."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import traceback
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from conftest import pattern_data, save_patterns, small_config
from PIL import Image

from unsee import buffers, pipeline as pipelines
from unsee.errors import LedgerError
from unsee.fleets import oracles
from unsee.ledger import CHECKLIST, Ledger, Worker, _letter, _open, _purge
from unsee.ledger._jobs import claim
from unsee.ledger._schema import keys
from unsee.ledger._sweep import removed
from unsee.nouns import Config, Run
from unsee.unnamed import LEFT_OUT, without_names
from unsee.verdict import _rules
from unsee.verdict._policy import JUDGED

IDS = ["train/00000-anna", "train/00003-anna", "x" * 5000 + "-anna"]  # one larger than a page
ALL = [*CHECKLIST]
WORDS = re.compile(r"proof|prove|complian|guarantee|certainly|fully erased", re.IGNORECASE)


def stub(config, folder):
    folder.mkdir(parents=True)
    for name in ("original.safetensors", "model.safetensors"):
        (folder / name).write_text(name)
    (folder / "config.json").write_text(f"train/00000-anna {config.forget}")
    return Run(data={}, forget={}, measurements={}, environment={}, seed=0)


def files_with(folder, *needles):
    """Return the files below a folder that hold one of these bytes, also inside what is packed."""
    return sorted(
        {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and any(n in content for n in needles for content in contents(path))
        }
    )


def contents(path):
    """Yield the bytes of a file, of the arrays in it, and of the pixels of pictures in it."""
    raw = path.read_bytes()
    yield raw
    if path.suffix in (".npz", ".npy") and zipfile.is_zipfile(path):
        with np.load(path) as stored:
            for array in stored.values():
                yield array.tobytes()
                yield (
                    "\n".join(map(str, array.ravel())).encode() if array.dtype.kind == "U" else b""
                )
    for coded in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", raw):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))).convert("L")).tobytes()


def closed(ledger, tmp_path, run=stub, **scope):
    number = ledger.add("case-1", Config(), by="ana", **(scope or {"ids": IDS}))
    ledger.approve(number, by="ben")
    Worker(ledger, tmp_path / "jobs", name="w", run=run).serve(once=True)
    ledger.close(number, by="ben", done=ALL)
    return number


# The database.


def test_a_closed_request_leaves_no_id_and_no_key_in_the_database_file_or_its_log(tmp_path):
    place = tmp_path / "db"
    place.mkdir()
    with Ledger(str(place / "ledger.sqlite")) as ledger:
        number = ledger.add("case-1", Config(), ids=IDS, by="ana")
        other = ledger.add("case-2", Config(), ids=["train/of-another"], by="ana")
        with ledger.reading() as connection:
            key = connection.execute(keys.select()).first().key
        needles = (b"-anna", key.encode(), bytes.fromhex(key))
        assert files_with(place, *needles) == ["ledger.sqlite-wal"]
        ledger.approve(number, by="ben")
        Worker(ledger, tmp_path / "jobs", name="w", run=stub).serve(once=True)
        assert files_with(place, b"-anna") != []
        ledger.close(number, by="ben", done=ALL)
        assert files_with(place, *needles) == []
        assert files_with(place, b"train/of-another") != []  # of a request that is open
        assert ledger.verify().why == "" and ledger.show(other).count == 1


def test_a_refused_request_leaves_none_either(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        ledger.refuse(ledger.add("case-1", Config(), ids=IDS, by="ana"), by="ben", why="law")
        assert files_with(tmp_path, b"-anna") == []


def test_a_rule_that_names_a_person_goes_as_well(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = closed(ledger, tmp_path, rule="where=person:anna")
        ledger.purge(number, by="ben")
    assert files_with(tmp_path, b"person:anna") == []


def test_a_reader_that_is_in_the_way_is_told_of_and_purging_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_open, "WAIT", 0.2)
    url = str(tmp_path / "ledger.sqlite")
    with Ledger(url) as ledger, Ledger(url) as other:
        number = ledger.add("case-1", Config(), ids=IDS, by="ana")
        with other.reading() as connection:
            assert connection.execute(keys.select()).first()
            with pytest.warns(UserWarning, match="until unsee purge runs"):
                ledger.refuse(number, by="ben", why="law")
        assert files_with(tmp_path, b"-anna") != []
        ledger.purge(number, by="ben")
    assert files_with(tmp_path, b"-anna") == []


def test_a_server_keeps_no_id_in_its_tables(postgres):
    with Ledger(postgres()) as ledger:
        number = ledger.add("case-1", Config(), ids=["train/00000-anna"], by="ana")
        with ledger.beating() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        assert files_with(postgres.data / "base", b"-anna") != []
        ledger.refuse(number, by="ben", why="law")
        with ledger.beating() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        assert files_with(postgres.data / "base", b"-anna") == []


def test_statistics_of_a_server_keep_no_id_and_no_key(postgres):
    """As autovacuum gathers them: what is most common, and what lies between."""
    with Ledger(postgres()) as ledger:
        many = [f"train/{n:05d}-anna" for n in range(500)]
        numbers = [ledger.add("case-1", Config(), ids=many, by="ana") for _ in range(12)]
        with ledger.reading() as connection:
            known = connection.execute(sqlalchemy.select(keys.c.key)).scalars().all()
        with ledger.beating() as connection:
            connection.exec_driver_sql("ANALYZE")
        for number in numbers:
            ledger.refuse(number, by="ben", why="law")
        with ledger.beating() as connection:
            connection.exec_driver_sql("CHECKPOINT")
            asked = "SELECT count(*) FROM pg_stats WHERE tablename IN ('scopes', 'keys')"
            named = f"{asked} AND attname IN ('value', 'key')"
            assert connection.exec_driver_sql(named).scalar() == 0
        needles = (b"-anna", *(key.encode() for key in known))
        assert files_with(postgres.data / "base", *needles) == []


# Folders.


def test_a_session_of_a_server_that_still_sees_the_ids_is_told_of(postgres):
    url = postgres()
    with Ledger(url) as ledger, Ledger(url) as other:
        number = ledger.add("case-1", Config(), ids=["train/00000-anna"], by="ana")
        with other.reading() as connection:
            assert connection.execute(sqlalchemy.text("SELECT 1")).scalar_one() == 1  # a snapshot
            with pytest.warns(UserWarning, match="until unsee purge runs"):
                ledger.refuse(number, by="ben", why="law")
        ledger.purge(number, by="ben")
        with ledger.beating() as connection:
            connection.exec_driver_sql("CHECKPOINT")
        assert files_with(postgres.data / "base", b"-anna") == []


def test_a_session_that_writes_elsewhere_and_waits_is_told_of(postgres):
    """It sees nothing, but the server keeps for it what it might still see."""
    with Ledger(postgres()) as ledger, Ledger(postgres()) as other:
        number = ledger.add("case-1", Config(), ids=["train/00007"], by="ana")
        with other.beating() as connection:
            connection.exec_driver_sql("CREATE TABLE elsewhere (x int)")
            with pytest.warns(UserWarning, match="another process reads the ledger"):
                ledger.refuse(number, by="ben", why="law")


def test_a_user_who_does_not_own_the_tables_is_told_of(postgres):
    url = postgres()
    with Ledger(url) as ledger:
        number = ledger.add("case-1", Config(), ids=["train/00007"], by="ana")
        with ledger.beating() as connection:
            here = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            for words in (
                f"CREATE ROLE {here}_user LOGIN",
                f"GRANT USAGE ON SCHEMA {here} TO {here}_user",
                f"GRANT ALL ON ALL TABLES IN SCHEMA {here} TO {here}_user",
            ):
                connection.exec_driver_sql(words)
    with Ledger(url.replace("unsee@", f"{here}_user@")) as ledger:
        with pytest.warns(UserWarning, match="does not own the tables: deleted ids stay"):
            ledger.refuse(number, by="ben", why="law")


def test_schemas_and_files_that_are_named_like_ours_and_are_not_stay(postgres, tmp_path):
    with Ledger(postgres()) as ledger:
        with ledger.beating() as connection:
            here = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            for name in ("m0001", "m0001_2", "migration"):
                connection.exec_driver_sql(f'CREATE SCHEMA "{here}_before_{name}"')
        number = ledger.add("case-1", Config(), ids=IDS, by="ana")
        ledger.refuse(number, by="ben", why="law")
        ledger.purge(number, by="ben")
        names = sqlalchemy.inspect(ledger.engine).get_schema_names()
        assert [x for x in names if x.startswith(f"{here}_before")] == [f"{here}_before_migration"]
    with Ledger(str(tmp_path / "of [us].sqlite")) as ledger:
        copies = [f"of [us].sqlite.before-{x}.bak" for x in ("m0001", "m0001.2", "migration")]
        copies.insert(0, f"{copies[0]}.1234.part")
        for name in copies:
            (tmp_path / name).write_text("x")
        number = ledger.add("case-1", Config(), ids=IDS, by="ana")
        ledger.refuse(number, by="ben", why="law")
        ledger.purge(number, by="ben")
    assert [name for name in copies if (tmp_path / name).exists()] == copies[3:]


def test_an_error_of_a_database_does_not_name_what_was_to_be_written(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        with ledger.beating() as connection:
            connection.exec_driver_sql("DROP TABLE scopes")
        with pytest.raises(LedgerError) as found:
            ledger.add("case-1", Config(), ids=IDS, by="ana")
    assert "-anna" not in "".join(traceback.format_exception(found.value))


def test_real_runs_leave_no_id_and_no_image_once_they_are_purged(tmp_path, monkeypatch):
    data = pattern_data()
    (tmp_path / "source").mkdir()
    config = dataclasses.replace(small_config(tmp_path / "source"), oracle="none", guard=1.0)
    work = tmp_path / "work"
    work.mkdir()
    gone = ["train/00000", "train/00003"]
    pixels = [data.take([n])[0, 0].numpy().tobytes() for n in (0, 3)]
    needles = (*pixels, *(name.encode() for name in gone))
    own = work / "engineer"  # not redacted: the engineer's own, with pictures
    (tmp_path / "source" / "gone.txt").write_text("\n".join(gone))
    ids = f"ids={tmp_path / 'source' / 'gone.txt'}"
    pipelines.run(dataclasses.replace(config, forget=ids), own)
    with Ledger(str(work / "ledger.sqlite")) as ledger:
        number = ledger.add("case-1", config, ids=gone, by="ana")
        ledger.approve(number, by="ben")
        Worker(ledger, work / "jobs", name="w").serve(once=True)
        ledger.close(number, by="ben", done=ALL)
        run = work / "jobs" / "job-00001" / "run"
        digest = re.search(r'"ids_digest": "([0-9a-f]{64})"', (run / "audit.json").read_text())
        before = files_with(work, *needles, digest[1].encode())
        assert {"engineer/arrays.npz", "jobs/job-00001/run/audit.json"} <= {*before}
        done = ledger.purge(number, by="ben", also=[own])
        assert files_with(work, *needles, digest[1].encode()) == []
        assert done.retired == (1,) and not (run / "original.safetensors").exists()
        assert [m.state for m in ledger.models()] == ["retired", "in use"]
        assert (run / "model.safetensors").exists() and (run / "report.html").exists()
        assert not own.exists() and ledger.verify().why == ""
        assert ledger.entries(number)[-1].what == "purged"
        again = ledger.purge(number, by="ben")
        assert again.files == 0


def test_retrained_models_a_buffer_and_a_fleet_go_with_their_images(tmp_path, monkeypatch, trained):
    monkeypatch.setattr(pipelines, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipelines, "page", lambda run, drawn: run.to_json())
    monkeypatch.setattr(pipelines, "figures", lambda run, drawn: {})
    data, gone = pattern_data(), ["train/00000", "train/00003"]
    pixels = [data.take([n])[0, 0].numpy().tobytes() for n in (0, 3)]
    needles = (*pixels, *(name.encode() for name in gone))
    (tmp_path / "source").mkdir()
    config = dataclasses.replace(small_config(tmp_path / "source"), guard=1.0)
    named = tmp_path / "source" / "gone.txt"
    named.write_text("\n".join(gone))
    work = tmp_path / "work"
    work.mkdir()
    buffer, fleet = work / "buffer.npz", work / "fleet"
    buffer.write_bytes(buffers.make(trained, data, share=1.0).pack())
    oracles(dataclasses.replace(config, forget=f"ids={named}"), fleet, models=1, jobs=1)
    with Ledger(str(work / "ledger.sqlite")) as ledger:
        for ids in (["train/00001"], gone):
            ledger.approve(ledger.add("case-1", config, ids=ids, by="ana"), by="ben")
            Worker(ledger, work / "jobs", name="w").serve(once=True)
        assert [request.state for request in ledger.requests()] == ["audited"] * 2
        for number in (1, 2):
            ledger.close(number, by="ben", done=ALL, partly=True, why="It may be red.")
        assert "buffer.npz" in files_with(work, *needles)
        before = models_in(work)
        assert "job-00001/retrained.safetensors" in {x.removeprefix("jobs/") for x in before}
        assert any(name.startswith("fleet/") for name in before)
        ledger.purge(2, by="ben", also=[buffer, fleet])
        assert files_with(work, *needles) == []
        own = ["jobs/job-00002/model.safetensors", "jobs/job-00002/retrained.safetensors"]
        assert models_in(work) == own  # model 3, and one that was trained without the images
        assert [m.state for m in ledger.models()] == ["retired", "retired", "in use"]


@pytest.mark.parametrize("kind", ["ids", "where"])
def test_the_run_of_a_later_request_forgets_what_was_asked_before_it(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(pipelines, "pictures_of", lambda run: None)
    monkeypatch.setattr(pipelines, "page", lambda run, drawn: run.to_json())
    monkeypatch.setattr(pipelines, "figures", lambda run, drawn: {})
    (tmp_path / "source").mkdir()
    config = dataclasses.replace(small_config(tmp_path / "source"), guard=1.0, oracle="none")
    work = tmp_path / "work"
    work.mkdir()
    first, guess = {"ids": ["train/00001"]}, hashlib.sha256(b"train/00001\n").hexdigest()
    if kind == "where":
        first, guess = {"rule": "class=a"}, "class=a"
    with Ledger(str(work / "ledger.sqlite")) as ledger:
        for scope in (first, {"ids": ["train/00004"]}):
            ledger.approve(ledger.add("case-1", config, by="ana", **scope), by="ben")
            Worker(ledger, work / "jobs", name="w").serve(once=True)
        assert [request.state for request in ledger.requests()] == ["audited"] * 2
        ledger.close(1, by="ben", done=ALL, partly=True, why="It may be red.")
        later = work / "jobs" / "job-00002" / "run" / "config.json"
        assert guess in later.read_text()
        ledger.purge(1, by="ben")
        assert guess not in later.read_text()
        words = json.loads(later.read_text())
        assert words["earlier"] == [LEFT_OUT]
        assert [key for key in words["digests"] if "earlier" in key] == []
        assert ledger.purge(1, by="ben").files == 0  # there is nothing left to do
        ledger.close(2, by="ben", done=ALL, partly=True, why="It may be red.")
        ledger.purge(2, by="ben")
        assert not later.exists()


def test_a_class_that_is_a_person_goes_from_audit_and_report(tmp_path):
    config = dataclasses.replace(small_config(tmp_path), guard=1.0)
    data = dataclasses.replace(pattern_data(), classes=("a", "b", "anna"))
    save_patterns(tmp_path / "patterns.npz", data)
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = ledger.add("case-1", config, rule="class=anna", by="ana")
        ledger.approve(number, by="ben")
        Worker(ledger, tmp_path / "jobs", name="w").serve(once=True)
        ledger.close(number, by="ben", done=ALL, partly=True, why="It is red.")
        run = tmp_path / "jobs" / "job-00001" / "run"
        before = files_with(run, b"anna")
        assert {"audit.json", "report.html", "config.json"} <= {*before}
        size = len((run / "report.html").read_bytes())
        ledger.purge(number, by="ben")
    stay = ("model.safetensors", "retrained.safetensors")  # a model has its list of classes
    assert [name for name in files_with(run, b"anna") if name not in stay] == []
    left = pipelines.load_run(run)
    assert left.forget["rule"] == "class=(destroyed)" and left.forget["gone"] == ["(destroyed)"]
    assert left.data["classes"] == ["a", "b", "(destroyed)"]
    page = (run / "report.html").read_text()
    assert "(destroyed)" in page and page.count("<svg") > 5 and len(page) > 0.8 * size


def test_names_of_classes_go_by_their_place_and_no_other_word_does():
    record = {
        "data": {"classes": ["a", "cat"], "name": "cat"},
        "models": {"unlearned": {"test_accuracy/cat": 1, "test_accuracy/concat": 2}},
        "notes": ["takes every training image of ['cat']", "concatenated, category"],
    }
    assert without_names(record, {"cat": "-"}) == {
        "data": {"classes": ["a", "-"], "name": "cat"},
        "models": {"unlearned": {"test_accuracy/-": 1, "test_accuracy/concat": 2}},
        "notes": ["takes every training image of ['-']", "concatenated, category"],
    }


def test_parts_that_a_killed_worker_left_go_with_a_purge(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = closed(ledger, tmp_path)
        (job,) = (tmp_path / "jobs").glob("job-*")
        (job / "run").mkdir(exist_ok=True)
        for part in ("forget.txt.12-0123abcd.part", "run/arrays.npz.12-0123abcd.part"):
            (job / part).write_text("train/00000-anna")
        ledger.purge(number, by="ben")
    assert files_with(tmp_path, b"-anna") == []


# Models that learned the images, and runs that several requests share.


def learning(fails=()):
    """Return a pipeline that trains as --oracle retrain has it, and fails in some of its calls."""
    calls = []

    def run(config, folder):
        calls.append(folder)
        folder.mkdir(parents=True)
        for name in (*(() if config.model else ("original",)), "model", "retrained"):
            (folder / f"{name}.safetensors").write_text(f"{name} of call {len(calls)}")
        (folder / "model.pt").write_text(f"the same again of call {len(calls)}")
        (folder / "config.json").write_text("{}")
        if len(calls) in fails:
            raise MemoryError
        return Run(data={}, forget={}, measurements={}, environment={}, seed=0)

    return run


def asked(ledger, *names, config=None):
    numbers = []
    for name in names:
        numbers.append(ledger.add("case-1", config or Config(), ids=[name], by="ana"))
        ledger.approve(numbers[-1], by="ben")
    return numbers


def models_in(folder):
    found = [x for x in folder.rglob("*") if ".safetensors" in x.name or x.suffix == ".pt"]
    return sorted(x.relative_to(folder).as_posix().replace("/run/", "/") for x in found)


def test_models_that_other_jobs_trained_on_the_images_go_with_a_purge(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning())
        for name in ("a", "b", "c"):
            asked(ledger, name)
            work.serve(once=True)
        ledger.close(2, by="ben", done=ALL)
        early = ledger.purge(2, by="ben")  # request 1 is open: it may want a certificate
        assert early.retired == (1,) and "model 2, which serves request 1" in "".join(early.left)
        assert "job-00001/model.safetensors" in models_in(tmp_path / "jobs")
        ledger.close(1, by="ben", done=ALL)
        done = ledger.purge(2, by="ben")
        kept = ["job-00002/model.pt", "job-00002/model.safetensors"]
        of_2_and_3 = [f"job-0000{n}/retrained.safetensors" for n in (2, 3)]  # without b
        of_3 = ["job-00003/model.pt", "job-00003/model.safetensors"]
        assert models_in(tmp_path / "jobs") == sorted([*kept, *of_2_and_3, *of_3])
        assert done.retired == (2,) and done.left == ()
        assert ledger.purge(2, by="ben").retired == (), "they were retired before"
        ledger.close(3, by="ben", done=ALL)
        ledger.purge(3, by="ben")
        assert models_in(tmp_path / "jobs") == [*of_3, "job-00003/retrained.safetensors"]


def test_a_model_that_comes_into_use_while_a_purge_reads_the_log_stays(tmp_path, monkeypatch):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning())
        asked(ledger, "a")
        work.serve(once=True)
        ledger.close(1, by="ben", done=ALL)
        asked(ledger, "b", config=Config(seed=1))  # another line on the same data
        before = _purge.all_jobs

        def meanwhile(ledger):
            work.serve(once=True)
            return before(ledger)

        monkeypatch.setattr(_purge, "all_jobs", meanwhile)
        ledger.purge(1, by="ben")
        assert all(m.path.exists() for m in ledger.models() if m.state == "in use")


def test_a_purge_spares_the_run_of_an_open_request_and_says_what_a_running_job_knows(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning())
        asked(ledger, "a")
        work.serve(once=True)
        ledger.refuse(asked(ledger, "b")[0], by="ben", why="no")
        run = tmp_path / "jobs" / "job-00001" / "run"
        (run / "config.json").write_text('{"ids_digest": ""}')
        with pytest.raises(LedgerError, match="Expected what nobody needs any more"):
            ledger.purge(2, by="ben", also=[run])  # request 1 is audited and open
        asked(ledger, "c")
        with ledger.writing() as log:
            assert claim(log, "w", 60, tmp_path / "jobs").number == 2
        ledger.close(1, by="ben", done=ALL)
        assert any("job 2 has the rules" in text for text in ledger.purge(1, by="ben").left)


def test_two_purges_at_once_both_end(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for n in range(500):
        (folder / f"{n}.json").write_text("")
    with ThreadPoolExecutor(2) as pool:
        assert len([*pool.map(removed, [[folder], [folder]])]) == 2
    assert not folder.exists()


def test_models_of_jobs_that_failed_go_with_a_purge(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning(fails=(1, 2)))
        for name in ("a", "b"):
            asked(ledger, name)
            with pytest.warns(UserWarning, match="MemoryError"):
                work.serve(once=True)
        run = tmp_path / "jobs" / "job-00001" / "run"
        (run / "model.safetensors.12-0123abcd.part").write_text("half a model")
        (run / "events.jsonl").write_text('{"message": "b is unknown"}\n')
        said = [run.parent / "error.txt", run / "events.jsonl"]
        assert all(path.exists() for path in said)
        ledger.approve(2, by="ben")
        work.serve(once=True)
        ledger.close(2, by="ben", done=ALL)
        ledger.purge(2, by="ben")
        last = ["model.pt", "model.safetensors", "retrained.safetensors"]
        assert models_in(tmp_path / "jobs") == [f"job-00003/{name}" for name in last]
        assert not any(path.exists() for path in said), "they may name b, of another request"


def test_models_of_a_refused_request_that_had_failed_go_and_those_of_others_stay(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning(fails=(2,)))
        asked(ledger, "a")
        work.serve(once=True)
        asked(ledger, "b")
        with pytest.warns(UserWarning, match="MemoryError"):
            work.serve(once=True)
        before = [x for x in models_in(tmp_path / "jobs") if x.startswith("job-00001")]
        ledger.refuse(2, by="ben", why="law")
        ledger.purge(2, by="ben")
        assert models_in(tmp_path / "jobs") == before and len(before) == 4


def test_other_lines_on_the_same_data_lose_what_is_no_version_and_their_versions_are_told(tmp_path):
    others = {"same": Config(seed=1), "elsewhere": Config(data="blobs")}
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning())
        for config in others.values():
            asked(ledger, "z", config=config)
            work.serve(once=True)
        (number,) = asked(ledger, "a")
        work.serve(once=True)
        ledger.close(number, by="ben", done=ALL)
        found = models_in(tmp_path / "jobs")
        left = ledger.purge(number, by="ben").left
        gone = ["job-00001/retrained.safetensors", "job-00003/original.safetensors"]
        assert sorted({*found} - {*models_in(tmp_path / "jobs")}) == gone
        assert [re.findall(r"model \d", text) for text in left] == [["model 1"], ["model 2"]]


def test_a_model_that_an_open_request_names_stays_and_is_told(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=learning())
        asked(ledger, "a")
        work.serve(once=True)
        asked(ledger, "b")
        work.serve(once=True)
        ledger.close(1, by="ben", done=ALL)
        oracle = tmp_path / "jobs" / "job-00001" / "run" / "retrained.safetensors"
        other = ledger.add("case-3", Config(seed=1, oracle=str(oracle)), ids=["c"], by="ana")
        ledger.close(2, by="ben", done=ALL)
        left = ledger.purge(2, by="ben").left
        assert oracle.exists() and any(str(oracle) in text for text in left)
        folder = oracle.parent
        assert (folder / "config.json").write_text('{"ids_digest": ""}')
        with pytest.raises(LedgerError, match="Expected what nobody needs any more"):
            ledger.purge(2, by="ben", also=[folder])
        assert oracle.exists()
        ledger.refuse(other, by="ben", why="law")
        assert ledger.purge(2, by="ben").left == () and not oracle.exists()


def test_a_run_of_several_requests_stays_whole_until_all_of_them_are_closed(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        one, two = asked(ledger, "train/00000-anna", "train/00001")
        Worker(ledger, tmp_path / "jobs", name="w", run=learning()).serve(once=True)
        run = tmp_path / "jobs" / "job-00001" / "run"
        for name in ("stages.json", "arrays.npz"):
            (run / name).write_text("{}")
        ledger.close(one, by="ben", done=ALL)
        (left,) = ledger.purge(one, by="ben").left
        assert "request 2" in left and "open" in left
        for name in ("config.json", "stages.json", "arrays.npz", "model.safetensors"):
            assert (run / name).exists(), name
        assert not (run / "original.safetensors").exists()  # it learned both
        ledger.close(two, by="ben", done=ALL)
        assert ledger.purge(one, by="ben").left == ()
        assert not (run / "config.json").exists() and not (run / "arrays.npz").exists()


@pytest.mark.parametrize("kind", ["open", "strange", "in use"])
def test_what_is_not_ours_or_in_use_is_not_purged(tmp_path, kind):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = closed(ledger, tmp_path)
        run = tmp_path / "jobs" / "job-00001" / "run"
        (run / "config.json").write_text('{"ids_digest": ""}')
        strange = tmp_path / "photos"
        strange.mkdir()
        (strange / "a.jpg").write_text("mine")
        (strange / "config.json").write_text('{"kind": "of another tool", "data": 1}')
        asked = {"open": [], "strange": [strange], "in use": [run]}[kind]
        if kind == "open":
            number = ledger.add("case-2", Config(), ids=IDS, by="ana")
        with pytest.raises(LedgerError, match="Expected"):
            ledger.purge(number, by="ben", also=asked)
        assert (strange / "a.jpg").exists() and (run / "model.safetensors").exists()
        assert (run / "original.safetensors").exists()


def test_a_model_of_ones_own_is_retired_and_named_and_left_to_its_owner(tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_text("mine")

    def run(config, folder):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("new")
        return Run(data={}, forget={}, measurements={}, environment={}, seed=0)

    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = ledger.add("case-1", Config(model=str(own)), ids=IDS, by="ana")
        ledger.approve(number, by="ben")
        Worker(ledger, tmp_path / "jobs", name="w", run=run).serve(once=True)
        ledger.close(number, by="ben", done=ALL)
        done = ledger.purge(number, by="ben")
        assert own.read_text() == "mine" and str(own) in done.left[0] and done.retired == (1,)


def test_copies_of_the_ledger_that_an_upgrade_made_go_with_a_purge(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(str(path)) as ledger:
        number = closed(ledger, tmp_path)
        copy = Path(f"{path}.before-m0001.bak")
        copy.write_text("train/00000-anna")
        ledger.purge(number, by="ben")
        assert not copy.exists()


# The answer to the person.


def answered(tmp_path, light="green", state="completed", method="snu_deep", kind=""):
    def run(config, folder):
        return dataclasses.replace(stub(config, folder), verdict={"light": light, "kind": kind})

    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        config = Config(method=method)
        number = ledger.add("case-9", config, ids=IDS, by="ana")
        if state == "refused":
            ledger.refuse(number, by="ben", why="We must keep them for a claim in court.")
        elif state == "extended":
            ledger.extend(number, ledger.show(number).due.replace(year=2099), by="b", why="Many.")
        else:
            ledger.approve(number, by="ben")
            Worker(ledger, tmp_path / "jobs", name="w", run=run).serve(once=True)
            partly = state == "partly_completed"
            refused = {"backups": "They are overwritten in 30 days."} if partly else {}
            done = [name for name in ALL if name not in refused]
            red = {"partly": True, "why": "It is red."} if light == "red" else {}
            ledger.close(number, by="ben", done=done, not_done=refused, **red)
        return ledger.answer(number)


SAID = {
    "green": "treats your images as models do that were trained without them",
    "amber": "there were too few of them to say more",
    "grey": "There was no model trained without your images to compare with",
}


@pytest.mark.parametrize("light", [*SAID])
@pytest.mark.parametrize("state", ["completed", "partly_completed"])
def test_an_answer_says_what_was_done_and_what_was_not_tested(tmp_path, light, state):
    told = answered(tmp_path, light, state)
    flat = " ".join(told.split())
    assert "Your reference: case-9" in told and _letter.TESTED[light] in flat
    assert [other for other, words in SAID.items() if words in flat] == [light]
    assert "What was not tested:" in told and "It was not trained anew" in flat
    assert ("overwritten in 30 days" in flat) is (state == "partly_completed")
    assert max(map(len, told.splitlines())) <= 72 and not WORDS.search(told)
    assert "anna" not in told


@pytest.mark.parametrize("light", ["amber", "red"])
@pytest.mark.parametrize("kind", [*_letter.KINDS])
def test_an_answer_says_what_speaks_against_the_model(tmp_path, light, kind):
    told = " ".join(answered(tmp_path, light, kind=kind).split())
    assert f"{_letter.FOUND[light]} {_letter.KINDS[kind]}." in told
    assert ("too few to be sure" in told) is (light == "amber")
    words = {"damaged": "less well than it should", "shallow": "inside the model still knows"}
    words |= {"still remembers": "as if it had learned", "over-forgotten": "unlike any that it"}
    words |= {"nothing was forgotten": "as rightly as before."}
    assert [other for other, said in words.items() if said in told] == [kind]
    assert "nothing that speaks against it" not in told
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        assert f"audited ({light}: {kind}, job 1)" in [row.told for row in ledger.entries(1)]


def test_every_kind_of_verdict_that_speaks_against_a_model_has_words():
    neutral = {"like retrained", "cannot tell", "depth not tested", "one reference"}
    neutral |= {"too few references", "not all was asked", "no reference"}
    assert {*_rules.SENTENCES} - neutral == {*_letter.KINDS}


def test_an_answer_has_words_for_every_audit_that_a_policy_can_name():
    assert _letter.AUDITS.keys() == {*JUDGED}


@pytest.mark.parametrize(
    "state, said", [("refused", "a claim in court"), ("extended", "Many."), ("extended", "2099")]
)
def test_an_answer_gives_the_reason_and_where_to_complain(tmp_path, state, said):
    told = " ".join(answered(tmp_path, state=state).split())
    assert said in told and "data protection authority" in told and not WORDS.search(told)


def test_a_model_that_was_trained_anew_is_called_so(tmp_path):
    told = answered(tmp_path, method="retrain")
    assert "A new model was trained without them" in told and "not certainty" not in told


def test_there_is_no_answer_before_a_decision(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        number = ledger.add("case-9", Config(), ids=IDS, by="ana")
        with pytest.raises(LedgerError, match="decided or extended"):
            ledger.answer(number)


def test_no_word_that_promises_too_much_stands_in_the_ledger():
    texts = [
        *_letter.TESTED.values(),
        *_letter.KINDS.values(),
        *_letter.NOT_TESTED,
        *CHECKLIST.values(),
    ]
    assert not [text for text in texts if WORDS.search(text)]

"""Faults in the real pipeline: kills and failing writes, a few of each; many by make torture."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import faults
import numpy as np
import pytest
import sqlalchemy

from unsee.errors import LedgerError
from unsee.ledger import CHECKLIST, Ledger, Worker
from unsee.ledger._schema import jobs as job_table
from unsee.nouns import Config, Run

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import ordeals  # noqa: E402
import torture  # noqa: E402
import torture_page  # noqa: E402

KILLS, FAULTS, OTHERS = 20, 20, 1


@pytest.fixture(scope="module")
def tormented(tmp_path_factory):
    """What came of some cases, in processes that are forked from one that has loaded torch."""
    if why := faults.why_not():
        pytest.skip(why)
    file = tmp_path_factory.mktemp("torture") / "torture.json"
    counts = {"kills": KILLS, "faults": FAULTS, "others": OTHERS}
    counts |= {"audits": "accuracy", "epochs": 1, "results": file}
    command = [sys.executable, str(ROOT / "verify" / "torture.py")]
    command += [f"--{name}={value}" for name, value in counts.items()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)
    assert file.exists(), done.stderr
    return json.loads(file.read_text())


def cases(tormented, *kinds):
    return {n: c for n, c in tormented["cases"].items() if c["plan"]["kind"] in kinds}


def wrong(found):
    return {
        name: (case["wrong"], case.get("said")) for name, case in found.items() if case["wrong"]
    }


def test_a_killed_worker_loses_nothing_and_its_request_is_completed_once(tormented):
    found = cases(tormented, "kill")
    assert len(found) == KILLS and not wrong(found)
    assert all(case["codes"][0] == -9 for case in found.values())


def test_kills_come_at_every_stage_and_at_its_boundaries(tormented):
    hits = Counter(
        (hit["stage"], hit["what"])
        for case in cases(tormented, "kill").values()
        for hit, code in zip(case["hits"], case["codes"], strict=False)
        if hit and code == -9
    )
    for stage in ("train", "unlearn", "retrain", "audit", "arrays", "report"):
        for what in ("start", "end"):
            assert hits[stage, f"{what}-{stage}"] >= 1


def test_a_call_that_fails_is_told_and_nothing_is_half_done(tormented):
    found = cases(tormented, "fault")
    assert len(found) == FAULTS and not wrong(found)
    assert all(case["struck"] for case in found.values())
    assert {case["codes"][0] for case in found.values()} <= {0, 5, 75}
    assert any(case["codes"][0] == 5 for case in found.values())


def test_signals_second_workers_wrong_clocks_and_full_disks_lose_nothing(tormented):
    found = cases(tormented, "term", "stall", "two workers", "clock", "disk")
    assert len(found) == 5 * OTHERS and not wrong(found)
    for case in cases(tormented, "term").values():
        assert case["codes"][0] in (143, 0) and all(s < 10 for s in case["waited"])


# What draws and shows the cases.


def calm():
    """Return the moments of a run of three calls, each of them in a stage."""
    rows = []
    for number, stage in enumerate(("train", "audit", "report")):
        for what in (f"start-{stage}", f"call-{number + 1}-rename", "did-rename", f"end-{stage}"):
            rows.append(faults.Moment(len(rows) + 1, False, stage, what, f"{stage}.json"))
    return [*rows, faults.Moment(1, True, "heartbeat", "call-1-write", "ledger.sqlite-wal")]


def test_boundaries_are_beginnings_ends_and_renames_and_come_first():
    rows = calm()
    assert ordeals.boundaries(rows) == [1, 4, 5, 8, 9, 12, 2, 3, 6, 7, 10, 11]
    plans = ordeals.kills(rows, 20, 1.0, random.Random(0))
    assert [p["happens"][0]["at"] for p in plans[:12]] == ordeals.boundaries(rows)
    assert Counter(p["how"] for p in plans) == {"boundary": 12, "time": 2, "drawn": 6}


def test_drawn_kills_are_uniform_over_all_moments():
    rows = [faults.Moment(n + 1, False, "train", "step", "-") for n in range(50)]
    plans = ordeals.kills(rows, 5000, 1.0, random.Random(0))
    count = Counter(p["happens"][0]["at"] for p in plans if p["how"] == "drawn")
    assert set(count) == {*range(1, 51)}
    assert torture_page.chi_square(count, dict.fromkeys(count, count.total() / 50)) > 0.01


def test_faults_are_spread_evenly_over_all_calls_and_are_all_of_them_if_asked():
    rows = calm()
    plans = ordeals.faults(rows, rows[:-1], 7, random.Random(0))
    assert len({(p["alone"], str(p["happens"][0]["fails"]), p["stage"]) for p in plans}) == 7
    every = ordeals.faults(rows, rows[:-1], 10**6, random.Random(0))
    once = ordeals.faults(rows, rows[:-1], None, random.Random(0))
    calls = [(p["alone"], *[p["happens"][0][x] for x in ("fails", "thread")]) for p in once]
    assert len({*calls}) == len(calls) == 7
    ways = {kind: len(found) for kind, found in faults.WRITTEN.items()}
    assert len(every) == 6 * ways["rename"] + ways["write"]


def test_a_chi_square_test_is_scipys_and_joins_bins_that_expect_too_few():
    from scipy.stats import chisquare

    observed, expected = {"a": 12, "b": 8, "c": 1}, {"a": 10.0, "b": 10.0, "c": 1.0}
    found = torture_page.chi_square(observed, expected)
    assert np.isclose(found, chisquare([13, 8], [11, 10]).pvalue)
    assert torture_page.chi_square({"a": 3}, {"a": 3.0}) is None


def test_the_page_shows_what_was_measured():
    page = torture_page.PAGE.read_text()
    told = torture_page.lines(torture_page.results())
    assert torture_page.with_section(page, torture_page.SECTION, told) == page


def test_the_page_shows_what_came_of_every_call():
    page, file = torture_page.PAGE.read_text(), torture_page.SUMMARY
    told = json.loads(file.read_text()) if file.exists() else {}
    lines = torture_page.every(told)
    assert torture_page.with_section(page, torture_page.EVERY, lines) == page
    if told:
        assert told["cases"] == told["planned"] == sum(told["calls"].values())
        assert told["lost"] == []


@pytest.mark.parametrize("file", [torture_page.EVIDENCE, torture_page.SUMMARY])
def test_the_committed_results_are_of_the_sources_of_today(file):
    known = json.loads(file.read_text())
    assert known["sources"] == torture.sources(), "make torture; python verify/torture.py --every"


def test_the_committed_results_lost_nothing_and_missed_no_boundary():
    known = torture_page.results()
    if not known:
        pytest.skip("not measured yet: make torture")
    assert not wrong(known["cases"]) and known["cases"].keys() == known["plans"].keys()
    assert len(cases(known, "kill")) >= 200 and len(cases(known, "fault")) >= 200
    assert torture_page.missed(known) == []


# A database that goes away.


def stub(config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "original.safetensors").write_text("original")
    (folder / "model.safetensors").write_text(f"without {config.forget}")
    verdict = {"light": "green"}
    return Run(data={}, forget={}, measurements={}, environment={}, seed=0, verdict=verdict)


def test_a_server_that_cuts_a_worker_off_at_any_statement_loses_nothing(postgres, tmp_path):
    url, said = postgres(), 0
    with Ledger(url) as ledger, Ledger(url) as other:
        work = Worker(ledger, tmp_path / "jobs", name="w", run=stub, lease=60.0)

        def cut(connection, cursor, *_):
            nonlocal count
            count += 1
            if count == n:
                pid = connection.connection.dbapi_connection.info.backend_pid
                with other.reading() as apart:
                    ends = sqlalchemy.text("SELECT pg_terminate_backend(:pid)")
                    apart.execute(ends, {"pid": pid})

        for n in range(1, 200):
            count, config = 0, Config(seed=n)  # a model of its own
            number = other.add("case-1", config, rule="class=3", by="ana")
            other.approve(number, by="ben")
            sqlalchemy.event.listen(ledger.engine, "before_cursor_execute", cut)
            try:
                work.serve(once=True)
            except LedgerError:
                said += 1
            finally:
                sqlalchemy.event.remove(ledger.engine, "before_cursor_execute", cut)
            with other.beating() as connection:  # the lease ends
                connection.execute(sqlalchemy.update(job_table).values(until=1.0))
            work.serve(once=True)
            assert other.close(number, by="ben", done=[*CHECKLIST]) == "completed"
            rows = Counter(row.what for row in other.entries(number))
            assert rows["audited"] == rows["completed"] == 1
            if count < n:
                break
        assert said >= n - 3 > 10 and other.verify().why == ""
        assert len(other.models()) == 2 * n

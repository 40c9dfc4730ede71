import time

import pytest

from unsee import events
from unsee.errors import UnseeWarning
from unsee.events import Event, Pace, listening, noted, stage, tell, warn


@pytest.fixture
def told():
    heard = []
    with listening(heard.append):
        yield heard


def test_a_stage_tells_its_start_and_its_end(told):
    with stage("train"):
        tell("progress", done=1, total=2)
    tell("warning", message="outside")
    assert [(e.stage, e.event) for e in told] == [
        ("train", "start"),
        ("train", "progress"),
        ("train", "end"),
        ("", "warning"),
    ]
    assert all(abs(e.time - time.time()) < 60 for e in told)


def test_a_stage_that_fails_says_why_and_fails_on(told):
    with pytest.raises(KeyError), stage("audit"):
        raise KeyError("gone")
    assert (told[-1].stage, told[-1].event, told[-1].message) == (
        "audit",
        "error",
        "KeyError: 'gone'",
    )


def test_stages_lie_inside_each_other(told):
    with stage("outer"), stage("inner"):
        pass
    assert [e.stage for e in told] == ["outer", "inner", "inner", "outer"]


def test_nobody_has_to_listen():
    with stage("train"):
        tell("progress", done=1)
    Pace(3).at(1, 10)


def test_all_listeners_hear_and_none_after_its_block():
    first, second = [], []
    with listening(first.append):
        with listening(second.append):
            tell("start")
        tell("end")
    tell("start")
    assert [e.event for e in first] == ["start", "end"] and len(second) == 1


def test_a_warning_without_a_run_is_one_of_python():
    with pytest.warns(UnseeWarning, match="two twins"):
        warn("two twins stay")


def test_a_warning_is_told_to_listeners_alone(told):
    warn("two twins stay")
    assert [(e.event, e.message) for e in told] == [("warning", "two twins stay")]


def test_noted_warnings_are_kept_back_so_that_they_are_told_once(told):
    with noted() as notes:
        warn("two twins stay")
        tell("progress", done=1)
    assert notes == ["two twins stay"]
    assert [e.event for e in told] == ["progress"]
    warn("after")
    assert notes == ["two twins stay"] and told[-1].message == "after"


def test_progress_is_told_at_most_twice_a_second_and_at_the_end(told, monkeypatch):
    clock = iter([0.0, *(0.1 * n for n in range(1, 21)), 2.1])
    monkeypatch.setattr(events.time, "perf_counter", lambda: next(clock))
    pace = Pace(21)
    for step in range(1, 21):
        pace.at(step, 10 * step)
    pace.at(21, 210)
    assert len(told) <= 6 and told[-1].done == 21
    assert told[-1].images_per_second == pytest.approx(100)
    assert told[-1].seconds_left == 0
    middle = told[-2]
    assert middle.seconds_left == pytest.approx(0.1 * (21 - middle.done), rel=0.01)


def test_a_loop_of_unknown_length_promises_no_end(told, monkeypatch):
    clock = iter([0.0, 0.6, 0.7, 1.3])
    monkeypatch.setattr(events.time, "perf_counter", lambda: next(clock))
    pace = Pace(None)
    for step in (1, 2, 3):
        pace.at(step, step)
    assert [(e.done, e.total, e.seconds_left) for e in told] == [(1, None, None), (3, None, None)]


def test_an_event_is_what_readers_of_the_log_know():
    names = ["time", "stage", "event", "done", "total", "images_per_second", "seconds_left"]
    assert [*Event.__dataclass_fields__] == [*names, "message"]


def test_what_is_muted_tells_warnings_and_no_progress():
    heard = []
    with events.listening(heard.append):
        with events.muted():
            events.tell("progress", done=1, total=2)
            events.warn("look here")
        events.tell("progress", done=2, total=2)
    assert [(e.event, e.done) for e in heard] == [("warning", None), ("progress", 2)]

import errno
import io
import json
import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from unsee import events, folder
from unsee.errors import BusyError, RunError, StorageError
from unsee.folder import CONFIG, EVENTS, FILES, LOCK, clear, load_run, opened, pack_arrays, write
from unsee.nouns import Run

WORDS = '{"seed": 0}'
LEFT = "model.safetensors.12-0123abcd.part"  # of a killed process


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(path):
    return sorted(file.name for file in path.iterdir())


# One file.


def test_a_file_is_written_whole(tmp_path):
    write(tmp_path / "a", b"old")
    write(tmp_path / "a", b"new" * 100_000)
    assert (tmp_path / "a").read_bytes() == b"new" * 100_000 and names(tmp_path) == ["a"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, function):
    write(tmp_path / "a", b"old")
    owner = os if function == "fsync" else folder.Path
    with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
        patch.setattr(owner, function, full)
        write(tmp_path / "a", b"new")
    assert caught.value.exit_code == 5 and "No space left" in str(caught.value)
    assert "free some space, then --resume" in str(caught.value)
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_what_is_in_the_way_is_no_full_disk(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="see to that, or name another place"):
        write(tmp_path / "a", b"new")


def test_other_bytes_than_were_written_are_noticed(tmp_path, monkeypatch):
    write(tmp_path / "a", b"old")
    monkeypatch.setattr(folder, "digest", lambda path: "another")
    with pytest.raises(StorageError, match="read back what was written"):
        write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_place_that_is_not_there_is_an_error_of_storage(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        write(tmp_path / "nowhere" / "further" / "a", b"new")


def test_an_interruption_leaves_no_half_a_file(tmp_path, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", b"new")
    assert names(tmp_path) == []


def test_writers_of_one_file_do_not_mix(tmp_path):
    contents = [bytes([n]) * 200_000 for n in range(4)]
    threads = [threading.Thread(target=write, args=(tmp_path / "a", c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents and names(tmp_path) == ["a"]


# Stages.


def make(calls, content=b"weights", **facts):
    def making():
        calls.append(content)
        return content, facts

    return making


def test_a_finished_stage_is_not_made_again(tmp_path):
    calls = []
    for _ in range(2):
        with opened(tmp_path / "run", WORDS) as place:
            facts = place.stage("train", "a", make(calls, seconds=1.5, n=3))
            assert facts == {"seconds": 1.5, "n": 3}
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["changed", "deleted", "unlisted"])
def test_a_stage_whose_file_is_not_what_it_was_is_made_again(tmp_path, damage):
    calls = []
    with opened(tmp_path / "run", WORDS) as place:
        place.stage("train", "a", make(calls))
        place.stage("audit", "b", make(calls))
    if damage == "changed":
        (place / "a").write_bytes(b"other")
    elif damage == "deleted":
        (place / "a").unlink()
    else:
        (place / "stages.json").unlink()
    with opened(tmp_path / "run", WORDS) as place:
        place.stage("train", "a", make(calls))
    assert len(calls) == 3 and (place / "a").read_bytes() == b"weights"


def test_damaged_notes_about_stages_say_what_to_do(tmp_path):
    with opened(tmp_path / "run", WORDS) as place:
        (place / "stages.json").write_text('{"train": ')
        with pytest.raises(RunError, match="delete it, and they are made again"):
            place.stage("train", "a", make([]))


def test_a_full_disk_at_any_write_leaves_nothing_half_done(tmp_path, monkeypatch):
    sync, count = os.fsync, 0
    fails = []

    def limited(handle):
        nonlocal count
        count += 1
        if count == limit:
            full()
        sync(handle)

    monkeypatch.setattr(os, "fsync", limited)
    for limit in range(1, 50):
        count, path = 0, tmp_path / f"run{limit}"
        try:
            work(path)
        except StorageError as error:
            assert error.exit_code == 5
            fails.append(limit)
            for name, content in (("a", b"A"), ("b", b"B"), (CONFIG, WORDS.encode())):
                assert not (path / name).exists() or (path / name).read_bytes() == content
            assert not [name for name in names(path) if name.endswith(".part")]
        else:
            break
        count = -(10**6)
        assert work(path) == [{"n": 1}, {"n": 2}]  # free some space, then go on
    assert fails == [*range(1, 11)]  # a file and its folder, for five files
    assert names(path) == sorted([LOCK, CONFIG, EVENTS, "a", "b", "stages.json"])


def work(path):
    with opened(path, WORDS) as place:
        first = place.stage("train", "a", make([], b"A", n=1))
        return [first, place.stage("audit", "b", make([], b"B", n=2))]


def test_a_log_that_cannot_be_written_is_an_error_of_storage():
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb", buffering=0) as log, pytest.raises(StorageError, match="No space"):
        folder._note(log, events.Event(0.0, "train", "start"))


def test_half_a_line_that_the_disk_took_is_taken_back(tmp_path):
    class Short(io.FileIO):
        def write(self, line):
            return super().write(line[: len(line) // 2] if b"progress" in line else line)

    with Short(tmp_path / EVENTS, "ab") as log:
        folder._note(log, events.Event(0.0, "train", "start"))
        with pytest.raises(StorageError, match="half a line"):
            folder._note(log, events.Event(1.0, "train", "progress"))
        folder._note(log, events.Event(2.0, "train", "error"))  # that is told next
    lines = [json.loads(line) for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "error"]


# A folder.


def test_events_are_written_one_a_line_as_they_happen(tmp_path):
    with opened(tmp_path / "run", WORDS) as place:
        with events.stage("train"):
            events.tell("progress", done=1, total=2)
            assert len((place / EVENTS).read_text().splitlines()) == 2
    lines = [json.loads(line) for line in (place / EVENTS).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "progress", "end"]
    assert all(set(line) == set(events.Event.__dataclass_fields__) for line in lines)


@pytest.mark.parametrize("tail", [b'{"time": 3, "sta', b"", b'{"time": 3}\n'])
def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path, tail):
    with opened(tmp_path / "run", WORDS) as place:
        events.tell("start")
    with (place / EVENTS).open("ab") as log:
        log.write(tail)
    with opened(tmp_path / "run", WORDS):
        events.tell("end")
    lines = [json.loads(line) for line in (place / EVENTS).read_text().splitlines()]
    assert len(lines) == (3 if tail.endswith(b"\n") else 2) and lines[-1]["event"] == "end"


def test_a_folder_of_something_else_is_refused_and_stays_as_it_was(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for begun in ("continue", "refuse", "replace"):
        with pytest.raises(RunError, match="'thesis.txt'"):
            with opened(tmp_path, WORDS, begun):
                pass
    assert names(tmp_path) == ["thesis.txt"]
    with pytest.raises(RunError, match="'thesis.txt'"):
        clear(tmp_path)


def test_a_download_of_somebody_else_is_not_ours_to_remove(tmp_path):
    (tmp_path / "movie.mkv.part").write_text("mine")
    with pytest.raises(RunError, match=r"movie\.mkv\.part"):
        with opened(tmp_path, WORDS):
            pass
    assert names(tmp_path) == ["movie.mkv.part"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / LEFT).write_text("half")
    with opened(tmp_path, WORDS):
        (tmp_path / "movie.mkv.part").write_text("mine")
    with opened(tmp_path, WORDS):
        pass
    assert names(tmp_path) == sorted([LOCK, CONFIG, EVENTS, "movie.mkv.part"])


def test_other_words_are_refused_and_named(tmp_path):
    with opened(tmp_path, '{"seed": 0, "forget": "class=c", "fingerprint": "f00d"}'):
        pass
    with pytest.raises(RunError, match=r"differs in \['fingerprint', 'seed'\]"):
        with opened(tmp_path, '{"seed": 1, "forget": "class=c", "fingerprint": "beef"}'):
            pass
    (tmp_path / CONFIG).write_bytes(b"\xff\xfe{")
    with pytest.raises(RunError, match="differs in"):
        with opened(tmp_path, WORDS):
            pass


def test_a_run_is_continued_refused_or_replaced_as_told(tmp_path):
    calls = []
    with opened(tmp_path, WORDS, "refuse") as place:
        place.stage("train", "model.safetensors", make(calls))
    with pytest.raises(RunError, match=r"--resume .*--force"):
        with opened(tmp_path, WORDS, "refuse"):
            pass
    with opened(tmp_path, WORDS) as place:
        place.stage("train", "model.safetensors", make(calls))
    with opened(tmp_path, '{"seed": 1}', "replace") as place:
        assert not (place / "model.safetensors").exists()
        place.stage("train", "model.safetensors", make(calls))
    assert len(calls) == 2 and (tmp_path / CONFIG).read_text() == '{"seed": 1}'


def test_clearing_takes_what_a_run_left_and_nothing_else(tmp_path):
    with opened(tmp_path, WORDS) as place:
        for name in ("model.safetensors", "audit.json"):
            place.stage(name, name, make([]))
        (place / "figures").mkdir()
        (place / "figures" / "strip.svg").write_text("<svg/>")
        (place / "notes.txt").write_text("mine")
    clear(tmp_path)
    assert names(tmp_path) == [LOCK, "notes.txt"]
    assert {CONFIG, EVENTS, "stages.json", "audit.json", "figures"} < {*FILES}


def test_a_clearing_that_was_killed_can_be_done_again(tmp_path, monkeypatch):
    with opened(tmp_path, WORDS) as place:
        place.stage("train", "model.safetensors", make([]))
    unlink, gone = folder.Path.unlink, []

    def stop_after_two(path, missing_ok=False):
        gone.append(path)
        if len(gone) > 7:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder.Path, "unlink", stop_after_two)
        clear(tmp_path)
    assert (tmp_path / CONFIG).exists()
    clear(tmp_path)
    assert names(tmp_path) == [LOCK]


def test_one_process_at_a_time(tmp_path):
    other = f"""
from pathlib import Path
from unsee.errors import BusyError
from unsee.folder import opened
try:
    with opened(Path({str(tmp_path)!r}), {WORDS!r}):
        print("open")
except BusyError as error:
    print(error.exit_code, error)
"""

    def tried():
        return subprocess.run(
            [sys.executable, "-c", other], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    with opened(tmp_path, WORDS):
        before = names(tmp_path)
        told = tried()
        assert told.startswith(f"4 Expected {tmp_path} for this run alone, got another process")
        assert f"(process {os.getpid()} on {socket.gethostname()}, since 20" in told
        (tmp_path / LOCK).write_text("")  # of one that has not said so yet
        assert tried().endswith("got another process in it: wait for it\n")
        assert names(tmp_path) == before
        for begun in ("refuse", "replace"):
            with pytest.raises(BusyError):
                with opened(tmp_path, WORDS, begun):
                    pass
    assert tried() == "open\n"


def test_a_place_where_no_folder_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises((RunError, StorageError), match="Expected a folder"):
            with opened(path, WORDS):
                pass
    assert (tmp_path / "file").read_text() == "mine"


# Reading a run back.

RUN = Run(data={}, forget={}, measurements={"original": {}}, environment={}, seed=0)


def test_a_run_is_read_with_its_arrays(tmp_path):
    arrays = {"original/forget/map": np.ones((2, 3), np.float32), "pictures/ids": np.array(["a"])}
    write(tmp_path / "audit.json", RUN.to_json().encode())
    assert load_run(tmp_path).arrays == {}
    write(tmp_path / "arrays.npz", pack_arrays(arrays))
    found = load_run(tmp_path)
    assert found == RUN and found.arrays.keys() == arrays.keys()
    assert all(np.array_equal(found.arrays[name], array) for name, array in arrays.items())


def test_arrays_weigh_the_same_whenever_they_are_packed():
    arrays = {"a": np.arange(5.0), "b": np.array(["x", "y"])}
    assert pack_arrays(arrays) == pack_arrays(arrays)


@pytest.mark.parametrize("damage", ["nothing", "no json", "no zip", "half a zip", "pickle"])
def test_what_is_no_finished_run_is_refused(tmp_path, damage):
    arrays = pack_arrays({"a": np.arange(100.0)})
    if damage != "nothing":
        write(tmp_path / "audit.json", b"{" if damage == "no json" else RUN.to_json().encode())
    content = {"no zip": b"PK", "half a zip": arrays[: len(arrays) // 2]}
    if damage in content:
        write(tmp_path / "arrays.npz", content[damage])
    elif damage == "pickle":
        np.savez(tmp_path / "arrays.npz", a=np.array([object()], dtype=object))
    with pytest.raises(RunError):
        load_run(tmp_path)


def test_a_part_that_a_killed_process_left_goes_with_the_next_write(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    left = tmp_path / f"audit.json.{gone.pid}-0123abcd.part"
    alive = tmp_path / f"audit.json.{os.getppid()}-0123abcd.part"
    others = [tmp_path / f"other.json.{gone.pid}-0123abcd.part", tmp_path / "audit.json.mine.part"]
    for path in (left, alive, *others):
        path.write_text("half")
    write(tmp_path / "audit.json", b"{}")
    assert not left.exists() and all(path.exists() for path in (alive, *others))


def test_a_config_json_of_another_program_is_not_ours_to_replace(tmp_path):
    """As Hugging Face writes it, beside a model of the name that ours have."""
    files = {CONFIG: '{"architectures": ["Net"]}', "model.safetensors": "mine"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for begun in ("continue", "refuse", "replace"):
        with pytest.raises(RunError, match="'config.json'"):
            with opened(tmp_path, WORDS, begun):
                pass
    assert {name: (tmp_path / name).read_text() for name in files} == files
    assert names(tmp_path) == sorted(files)


@pytest.mark.parametrize("form", ["{}", "ids={}"])
def test_a_run_does_not_replace_the_folder_that_it_needs_a_file_of(tmp_path, form):
    place, file = tmp_path / "run", tmp_path / "run" / "original.safetensors"
    with opened(place, WORDS):
        file.write_bytes(b"weights")
    words = json.dumps({"seed": 1, "model": None, "earlier": [form.format(file)]})
    with pytest.raises(RunError, match="needs nothing of the folder .*original.safetensors"):
        with opened(place, words, "replace"):
            pass
    assert file.read_bytes() == b"weights" and (place / CONFIG).read_text() == WORDS
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    with pytest.raises(RunError, match=r"link\.safetensors"):
        with opened(place, json.dumps({"model": str(link)}), "replace"):
            pass
    (place / "ids.txt").write_text("mine")  # which nobody removes
    words = {"model": str(tmp_path / "elsewhere"), "method": str(place), "oracle": "\0"}
    with opened(place, json.dumps(words | {"forget": f"ids={place / 'ids.txt'}"}), "replace"):
        assert not file.exists() and (place / "ids.txt").exists()

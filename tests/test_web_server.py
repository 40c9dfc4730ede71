"""The server on a real socket: what is late, too large or never read harms nobody else."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")

import runs
from finished import finished

from unsee.errors import OptionError
from unsee.ledger import Ledger
from unsee.nouns import Config
from unsee.reporting import redacted
from unsee.web import Desk, Shelf, _doors, _progress, _server, application, fresh, listening

CONFIG = Config(data="digits", arch="convnet", train_epochs=1)
LARGE = 16 * 2**20  # bytes of a report: more than a kernel's buffers take


class Served:
    """A server in a thread of this process, and who may come in."""

    def __init__(self, desk):
        self.access, self.tokens = fresh()
        self.app, self.desk = application(desk, self.access), desk
        self.server, door = _server.Parting(self.app), listening("127.0.0.1", 0)
        self.port = door.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [door]})
        self.thread.start()
        until(lambda: self.server.started)

    def stop(self):
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive()

    @contextmanager
    def talk(self, buffer=None, wait=20):
        with socket.socket() as line:
            if buffer:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            line.settimeout(wait)
            line.connect(("127.0.0.1", self.port))
            yield line

    def head(self, path, *lines, method="GET", token="auditor"):
        first = f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{self.port}"
        known = (f"authorization: Bearer {self.tokens[token]}",) if token else ()
        return "\r\n".join((*first, *known, *lines, "", "")).encode()

    def asked(self, path="/api/v1/requests", **more):
        """Ask on a connection of its own, and return the status."""
        with self.talk() as line:
            line.sendall(self.head(path, "connection: close", **more))
            return status(line)


def until(true, seconds=15):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def status(line):
    """Read the start of an answer; None: the connection was closed without one."""
    with suppress(ConnectionError):
        begin = line.recv(12)
        return int(begin[9:12]) if begin else None


def closed(line):
    """Read until the other side closes, and return the seconds that took."""
    start = time.monotonic()
    with suppress(ConnectionError):
        while line.recv(2**16):
            pass
    return time.monotonic() - start


@pytest.fixture
def served(tmp_path):
    jobs = tmp_path / "jobs"
    (finished(jobs / "one", redacted(runs.example())) / "report.html").write_bytes(b"x" * LARGE)
    (jobs / "two").mkdir()  # one that is at work
    (jobs / "two" / "config.json").write_text("{}")
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        found = Served(Desk(ledger, Shelf(jobs), CONFIG))
        yield found
        if found.thread.is_alive():
            found.stop()


def test_a_place_that_is_taken_is_said_so(served):
    with pytest.raises(OptionError, match="--port"):
        listening("127.0.0.1", served.port)


@pytest.mark.parametrize("sent", [b"GET /" + b"x" * 2**20, b"GET / HTTP/1.1\r\nx: " + b"x" * 2**20])
def test_a_request_line_or_a_header_of_a_megabyte_is_refused(served, sent):
    with served.talk() as line:
        with suppress(ConnectionError):  # it does not read all of it
            line.sendall(sent)
        assert status(line) in (400, None)
    assert served.asked() == 200


def test_a_body_of_ten_gigabytes_is_refused_before_it_is_read(served):
    with served.talk() as line:
        line.sendall(served.head("/api/v1/preview", f"content-length: {10 * 2**30}", method="POST"))
        assert status(line) == 413
        assert closed(line) < 2


def test_a_body_without_a_length_is_read_up_to_the_limit(served, monkeypatch):
    monkeypatch.setattr(_doors, "LARGEST", 2**18)
    chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
    with served.talk() as line:
        line.sendall(served.head("/api/v1/preview", "transfer-encoding: chunked", method="POST"))
        with suppress(ConnectionError):
            for _ in range(100):
                line.sendall(chunk)
        assert status(line) in (413, None)
    until(lambda: not served.server.server_state.connections)
    assert served.asked() == 200


def test_who_has_not_come_in_sends_no_large_body(served):
    size = f"content-length: {_doors.SMALL + 1}"
    for path in ("/login", "/api/v1/requests", "/requests"):
        with served.talk() as line:
            line.sendall(served.head(path, size, method="POST", token=None))
            assert status(line) == 413, path


def test_large_bodies_together_are_limited_too(served, monkeypatch):
    monkeypatch.setattr(_doors, "TOGETHER", 100_000)
    head = served.head("/api/v1/preview", "content-length: 80000", method="POST")
    with served.talk() as one, served.talk() as two:
        for line in (one, two):
            line.sendall(head + b" " * 70_000)
        found = []
        for line in (one, two):
            line.settimeout(1)
        for line in (one, two):
            with suppress(TimeoutError):
                found.append(status(line))
        assert found == [503]


def test_half_a_body_is_no_body(served):
    """A list of ids that is cut off would be another request."""
    body = b"subject=case-1&ids=train/00001%0Atrain/00002%0Atrain/00003"
    kind = "content-type: application/x-www-form-urlencoded"
    head = served.head(
        "/requests", kind, f"content-length: {len(body)}", method="POST", token="requester"
    )
    with served.talk() as line:
        line.sendall(head + body[:-12])
    until(lambda: not served.server.server_state.tasks)
    assert served.desk.ledger.count() == 0
    with served.talk() as line:
        line.sendall(head + body)
        assert status(line) == 303
    assert served.desk.ledger.show(1).count == 3


def test_a_request_that_trickles_in_ends_and_others_are_answered(served, monkeypatch):
    monkeypatch.setattr(_server, "ARRIVES", 0.6)
    with served.talk() as line:
        start = time.monotonic()
        line.sendall(b"GET / HTTP/1.1\r\n")
        assert served.asked() == 200
        with pytest.raises(ConnectionError):
            while time.monotonic() < start + 10:
                line.sendall(b"x")
                time.sleep(0.05)
        assert 0.5 < time.monotonic() - start < 5


def test_the_second_request_of_a_connection_may_not_trickle_either(served, monkeypatch):
    monkeypatch.setattr(_server, "TAKEN", 0.6)
    with served.talk() as line:
        line.sendall(served.head("/api/v1/checklist"))
        assert status(line) == 200
        with pytest.raises(ConnectionError):
            for _ in range(200):
                line.sendall(b"G")
                time.sleep(0.05)


def test_a_body_that_trickles_in_ends(served, monkeypatch):
    monkeypatch.setattr(_doors, "SLOWEST", 0.4)
    with served.talk() as line:
        line.sendall(served.head("/api/v1/preview", "content-length: 100", method="POST") + b"{")
        assert status(line) == 408


def test_who_does_not_read_an_answer_loses_the_connection(served, monkeypatch):
    monkeypatch.setattr(_server, "TAKEN", 0.6)
    with served.talk(buffer=4096) as line:
        line.sendall(served.head("/runs/one/report"))
        until(lambda: served.server.server_state.connections)
        until(lambda: not served.server.server_state.connections)
        until(lambda: not served.server.server_state.tasks)  # which are told of it a moment later


def test_who_reads_gets_all_of_a_large_answer(served):
    with served.talk() as line:
        line.sendall(served.head("/runs/one/report", "connection: close"))
        size = 0
        while part := line.recv(2**16):
            size += len(part)
    assert size > LARGE


def stream(served, line, token="auditor"):
    line.sendall(served.head("/runs/two/progress", token=token))
    return status(line)


def test_streams_are_limited_for_each_token_and_in_all_and_places_come_back(served, monkeypatch):
    monkeypatch.setattr(_progress, "EACH", 2)
    monkeypatch.setattr(_progress, "MOST", 3)
    with served.talk() as a, served.talk() as b, served.talk() as c, served.talk() as d:
        assert [stream(served, a), stream(served, b), stream(served, c)] == [200, 200, 503]
        assert closed(c) < 2  # a refused one holds nothing
        assert stream(served, d, "requester") == 200
        with served.talk() as e:
            assert stream(served, e, "approver") == 503
        assert served.asked("/runs") == 200
    until(lambda: not served.app.state.streams.held.total())


def test_a_stream_ends_with_the_session_that_opened_it(served, monkeypatch):
    monkeypatch.setattr(_progress, "EVERY", 0.05)
    with served.talk() as line:
        line.sendall(served.head("/runs/two/progress", "connection: close"))
        assert status(line) == 200
        served.access.tokens.clear()
        assert closed(line) < 10
    assert served.asked() == 401


def test_a_stream_ends_with_the_folder_of_its_run(served, monkeypatch):
    monkeypatch.setattr(_progress, "EVERY", 0.05)
    with served.talk() as line:
        line.sendall(served.head("/runs/two/progress", "connection: close"))
        assert status(line) == 200
        (served.desk.shelf.root / "two" / "config.json").unlink()
        closed(line)


def test_a_server_that_stops_waits_for_no_stream(served):
    with served.talk() as line:
        assert stream(served, line) == 200
        start = time.monotonic()
        served.stop()
        assert time.monotonic() - start < 3


def test_the_list_is_answered_while_a_preview_runs_and_who_leaves_stops_it(served):
    body = b'{"rule": "class=3"}'
    with served.talk() as line:
        kind = "content-type: application/json", f"content-length: {len(body)}"
        head = served.head("/api/v1/preview", *kind, method="POST", token="requester")
        line.sendall(head + body)
        until(lambda: served.desk.aside.turn.locked())
        for path in ("/", "/api/v1/requests", "/static/web.css"):
            start = time.monotonic()
            assert served.asked(path) == 200
            assert time.monotonic() - start < 2
        assert served.desk.aside.turn.locked()  # it went on meanwhile
    until(lambda: not served.desk.aside.turn.locked())
    assert served.desk.aside.asked == 0


def test_only_some_may_wait_for_a_preview(served, monkeypatch):
    monkeypatch.setattr("unsee.web._aside.WAITING", 0)
    body = b'{"rule": "class=3"}'
    kind = "content-type: application/json", f"content-length: {len(body)}"
    head = served.head("/api/v1/preview", *kind, method="POST", token="requester") + body
    with served.talk() as one, served.talk() as two:
        one.sendall(head)
        until(lambda: served.desk.aside.asked)
        two.sendall(head)
        assert status(two) == 503

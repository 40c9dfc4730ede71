"""``unsee serve`` as a process: where it listens, what clients cost it, how it ends."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")

import runs
from finished import finished
from starlette.testclient import TestClient

from unsee import web
from unsee.cli import call
from unsee.reporting import redacted

CLIENTS = 200
MORE = 64 * 2**10  # kilobytes by which they may raise the memory of the server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_let_near_with_a_file_of_tokens_alone(
    host, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert call("serve", "--host", host) == 2
    out, told = capsys.readouterr()
    assert out == "" and "--token-file" in told and told.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_place_that_is_taken_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert call("serve", "--port", str(other.getsockname()[1])) == 2
    out, told = capsys.readouterr()
    assert out == "" and "name another --port" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--behind-tls",), "--name HOST"),
        (("--behind-tls", "--name", "https://unsee.example"), "without https:// and port"),
        (("--name", "unsee.example:8443"), "without https:// and port"),
    ],
)
def test_behind_a_proxy_the_name_of_the_proxy_has_to_be_said(
    flags, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert call("serve", *flags) == 2
    out, error = capsys.readouterr()
    assert out == "" and told in error and error.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_key_with_a_passphrase_is_refused_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("words").write_text("correct horse\n")
    Path("words").chmod(0o600)
    assert call("keys", "new", "--out", "key.pem", "--passphrase-file", "words") == 0
    capsys.readouterr()
    assert call("serve", "--key", "key.pem") == 2
    out, told = capsys.readouterr()
    assert out == "" and "Expected --key FILE without a passphrase" in told
    assert not Path("ledger.sqlite").exists()


def test_links_lead_through_the_proxy_and_its_origin_is_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(web, "serve", lambda app, door: served.append(app))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("--port", str(port), "--name", "unsee.example", "--name", "other", "--behind-tls")
    assert call("serve", *flags) == 0
    link = re.search(r"approver +(https://unsee\.example)(/login\?\S+)", capsys.readouterr().out)
    headers = {"host": "unsee.example", "origin": link[1]}
    of = TestClient(served[0], base_url="http://127.0.0.1", follow_redirects=False)
    assert of.get(link[2], headers=headers).status_code == 303


def memory(process):
    """Return the resident memory of a process, in kilobytes."""
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_hundred_clients_that_do_not_read_cost_little_and_hold_nobody_up(tmp_path):
    jobs = tmp_path / "jobs"
    (finished(jobs / "one", redacted(runs.example())) / "report.html").write_bytes(
        b"x" * 16 * 2**20
    )
    (jobs / "two").mkdir()  # at work
    (jobs / "two" / "config.json").write_text("{}")
    (jobs / "two" / "events.jsonl").write_text('{"event": "start", "stage": "train"}\n')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "unsee", "serve", "--port", str(port), "--folder", str(jobs)]
    command += ["--ledger", str(tmp_path / "ledger.sqlite")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process, ExitStack() as lines:
        found = dict(
            re.findall(
                r"(\w+) +http\S+\s+token (\S+)",
                "".join(process.stdout.readline() for _ in range(7)),
            )
        )

        def ask(path, role, wait=60):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
            request.add_header("authorization", f"Bearer {found[role]}")
            with urllib.request.urlopen(request, timeout=wait) as answer:
                return answer.status

        assert ask("/", "auditor") == 200
        before = memory(process)
        for n in range(CLIENTS):
            line = lines.enter_context(socket.socket())
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(60)
            line.connect(("127.0.0.1", port))
            path = "/runs/one/report" if n % 10 == 0 else "/runs/two/progress"
            role = [*found][n % 3]
            head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {found[role]}"
            line.sendall(f"{head}\r\n\r\n".encode())
        time.sleep(2)
        assert ask("/", "auditor") == 200
        assert memory(process) - before < MORE
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - start < 20
        assert process.returncode == 143 and "Traceback" not in told

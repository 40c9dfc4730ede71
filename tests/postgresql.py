"""Start a real server of PostgreSQL on loopback, as a user without privileges."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs():
    """Return the folder with ``initdb`` and ``postgres``; Debian keeps them out of the PATH."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and not debian:
        pytest.skip("needs a server of PostgreSQL: apt-get install postgresql")
    return Path(found or debian[-1]).parent


def unprivileged():
    """Return a user who may run a server: it refuses to run as root."""
    if os.getuid() != 0:
        return None
    users = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in users)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def started():
    """Yield a function that makes a new schema, as empty as a new database, and returns its URL."""
    psycopg = pytest.importorskip("psycopg", reason="needs pip install 'unsee[postgres]'")
    bin_, user = programs(), unprivileged()
    place = Path(tempfile.mkdtemp(prefix="unsee-postgresql-"))
    if user:
        shutil.chown(place, user)
    port, numbers = free_port(), itertools.count()
    said = place / "log"
    quick = ("-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "max_connections=60")
    make = [bin_ / "initdb", "-D", place / "data", "-A", "trust", "-U", "unsee", "--no-sync"]
    subprocess.run(
        [*make, "--encoding=UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
    )
    serve = [bin_ / "postgres", "-D", place / "data", "-h", "127.0.0.1", "-p", str(port), *quick]
    server = f"postgresql://unsee@127.0.0.1:{port}"
    with said.open("wb") as log:
        process = subprocess.Popen(serve, stdout=log, stderr=log, user=user, cwd="/")
    try:
        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(f"{server}/postgres").close()
                break
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(said.read_text()) from None
                time.sleep(0.05)

        def new():
            name = f"ledger_{next(numbers)}"
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE SCHEMA {name}")
            return f"{server}/postgres?options=-csearch_path%3D{name}"

        new.data = place / "data"
        yield new
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody needs what is in it
        process.wait(timeout=30)
        shutil.rmtree(place, ignore_errors=True)

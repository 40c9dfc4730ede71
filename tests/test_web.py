"""The web page and its API: who comes in, what each may do, and what is refused at the doors."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")

import numpy as np
import runs
import stub_worker
from finished import finished
from PIL import Image
from runs import example
from sqlalchemy import select, update
from starlette.testclient import TestClient

from unsee.errors import LedgerError, ModelError, OptionError
from unsee.ledger import CHECKLIST, Ledger, Worker, clear_left, ids_file
from unsee.ledger._schema import requests, scopes
from unsee.models import without_code
from unsee.nouns import Config
from unsee.reporting import redacted
from unsee.web import Access, Desk, Shelf, Visitor, _desk, application, fresh, from_file
from unsee.web._access import LASTS
from unsee.web._doors import HEADERS, LARGEST, LONGEST_PATH, host_of
from unsee.web._explorer import SIDE, feature_map
from unsee.web._pages import MOST_IDS

HERE = "http://127.0.0.1:8000"
CONFIG = Config(data="digits", arch="convnet", train_epochs=1)
SCOPE = {"subject": "case-1", "rule": "class=3"}


@pytest.fixture
def desk(tmp_path):
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        yield Desk(ledger, Shelf(tmp_path / "jobs"), CONFIG)


@pytest.fixture
def door(desk):
    access, tokens = fresh()
    return application(desk, access), tokens


def client(app, token=None, **more):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return TestClient(app, base_url=HERE, headers=headers, follow_redirects=False, **more)


def browser(app, token):
    found = client(app)
    assert found.post("/login", data={"token": token}).status_code == 303
    return found


def test_a_link_opens_the_door_once_and_leaves_no_token_behind(door):
    app, tokens = door
    secret = app.state.access.link(tokens["requester"])
    first = client(app).get(f"/login?once={secret}")
    assert first.status_code == 303 and first.headers["location"] == "/"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert tokens["requester"] not in cookie
    again = client(app).get(f"/login?once={secret}")
    assert again.status_code == 403 and "set-cookie" not in again.headers


@pytest.mark.parametrize("used", [False, True])
def test_the_secret_of_a_link_is_no_token_and_a_token_is_no_link(door, used):
    app, tokens = door
    secret = app.state.access.link(tokens["approver"])
    if used:
        assert client(app).get(f"/login?once={secret}").status_code == 303
    assert client(app).post("/login", data={"token": secret}).status_code == 403
    assert client(app, secret).get("/api/v1/requests").status_code == 401
    assert client(app).get(f"/login?once={tokens['approver']}").status_code == 403


def test_of_many_who_follow_a_link_at_once_one_comes_in():
    access, tokens = fresh()
    links = [access.link(tokens["auditor"]) for _ in range(300)]
    with ThreadPoolExecutor(8) as many:
        found = [*many.map(access.by_link, [x for x in links for _ in range(8)])]
    assert sum(x is not None for x in found) == len(links)


def test_without_a_token_nothing_is_shown(door):
    app, _ = door
    for path in ("/", "/requests/1", "/new", "/runs", "/models", "/compare?run=a"):
        answer = client(app).get(path)
        assert answer.status_code == 303 and answer.headers["location"] == "/login", path
    answer = client(app).get("/api/v1/requests")
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert client(app, "x" * 43).get("/api/v1/requests").status_code == 401


def test_a_session_ends_by_leaving_and_by_time():
    now = [0.0]
    ana = Visitor("ana", "requester", "her token's digest")
    access = Access({ana.key: ana}, clock=lambda: now[0])
    one, two = (access.enter(ana) for _ in range(2))
    access.leave(one)
    assert access.by_session(one) is None and access.by_session(two).name == "ana"
    now[0] = LASTS + 1
    assert access.by_session(two) is None


def test_every_role_may_do_what_it_may_and_nothing_else(door):
    app, tokens = door
    of = {role: client(app, token) for role, token in tokens.items()}
    assert of["auditor"].post("/api/v1/requests", json=SCOPE).status_code == 403
    assert of["requester"].post("/api/v1/requests", json=SCOPE).json() == {"number": 1}
    assert of["requester"].post("/api/v1/requests/1/approve", json={}).status_code == 403
    assert of["auditor"].post("/api/v1/requests/1/approve", json={}).status_code == 403
    answer = of["approver"].post("/api/v1/requests/1/approve", json={})
    assert answer.status_code == 200 and answer.json()["state"] == "approved"
    for role in tokens:
        assert of[role].get("/api/v1/requests/1").json()["added_by"] == "requester"


def test_who_adds_a_request_does_not_approve_it(door):
    app, tokens = door
    approver = client(app, tokens["approver"])
    assert approver.post("/api/v1/requests", json=SCOPE).status_code == 201
    answer = approver.post("/api/v1/requests/1/approve", json={})
    assert answer.status_code == 422 and "someone else" in answer.json()["error"]
    page = browser(app, tokens["approver"]).get("/requests/1").text
    assert "somebody else approves it" in page and "/approve" not in page


@pytest.mark.parametrize(
    "header, value",
    [
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example"),
        ("host", "127.0.0.1@evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:9000"),  # another program of this machine
        ("origin", "https://127.0.0.1:8000"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ],
)
def test_what_another_site_makes_a_browser_send_is_refused(door, header, value):
    app, tokens = door
    for method, path in (("GET", "/"), ("POST", "/api/v1/requests"), ("GET", "/static/web.css")):
        answer = client(app, tokens["requester"]).request(method, path, headers={header: value})
        assert answer.status_code == 403, (method, path)
        assert not {x for x in answer.headers if x.startswith("access-control")}


TLS = {"host": "unsee.example", "origin": "https://unsee.example"}


@pytest.fixture
def behind(desk):
    """Return a server behind a proxy: what comes in is http, what browsers see is https."""
    access, tokens = fresh()
    return application(desk, access, ["unsee.example"], behind_tls=True), tokens


def test_behind_a_proxy_with_tls_forms_work_and_the_cookie_stays_on_tls(behind):
    app, tokens = behind
    entered = client(app).post("/login", data={"token": tokens["requester"]}, headers=TLS)
    assert entered.status_code == 303 and entered.headers["location"] == "/"
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("__Host-unsee-443=") and "; Secure" in cookie and "Path=/;" in cookie
    assert "Domain" not in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie
    session = TLS | {"cookie": cookie.partition(";")[0]}
    added = client(app).post("/requests", data=SCOPE, headers=session)
    assert added.headers["location"] == "/requests/1"
    left = client(app).post("/logout", headers=session).headers["set-cookie"]
    assert left.startswith("__Host-unsee-443=") and "; Secure" in left and "Max-Age=0" in left
    again = client(app).get("/", headers=session)
    assert again.headers["location"] == "/login" and "; Secure" in again.headers["set-cookie"]
    ported = TLS | {"host": "unsee.example:8443", "origin": "https://unsee.example:8443"}
    entered = client(app).post("/login", data={"token": tokens["requester"]}, headers=ported)
    assert entered.headers["set-cookie"].startswith("__Host-unsee-8443=")


@pytest.mark.parametrize(
    "origin", ["http://unsee.example", "https://evil.example", "https://unsee.example:8443", "null"]
)
def test_behind_a_proxy_with_tls_other_origins_are_refused(behind, origin):
    app, tokens = behind
    for more in ({}, {"x-forwarded-proto": "http"}, {"forwarded": "proto=http"}):
        headers = TLS | more | {"origin": origin}
        answer = client(app).post("/login", data={"token": tokens["approver"]}, headers=headers)
        assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_no_header_of_a_proxy_makes_a_server_believe_in_tls(door):
    app, tokens = door
    claims = {"x-forwarded-proto": "https", "x-forwarded-ssl": "on", "forwarded": "proto=https"}
    data, own = {"token": tokens["auditor"]}, {"origin": "https://127.0.0.1:8000"}
    assert client(app).post("/login", data=data, headers=claims | own).status_code == 403
    cookie = client(app).post("/login", data=data, headers=claims).headers["set-cookie"]
    assert cookie.startswith("unsee-8000=") and "Secure" not in cookie


@pytest.mark.parametrize("host", ["localhost:8000", "LOCALHOST.", "[::1]:8000", "127.0.0.1"])
def test_this_machine_may_be_called_by_its_names(door, host):
    app, tokens = door
    answer = client(app, tokens["auditor"]).get("/api/v1/requests", headers={"host": host})
    assert answer.status_code == 200


def test_a_name_in_a_host_header_is_read_as_the_standard_library_reads_it():
    for text in ("a b", "a/b", "[::1", "host:port", "host:99999999", "a?b", "a#b", ""):
        assert host_of(text) is None, text


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(door, method):
    app, tokens = door
    assert client(app, tokens["approver"]).request(method, "/api/v1/requests").status_code == 405


def test_a_preflight_gets_no_leave(door):
    app, tokens = door
    asks = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = client(app, tokens["approver"]).options("/api/v1/requests", headers=asks)
    assert answer.status_code in (403, 405)
    assert not {x for x in answer.headers if x.startswith("access-control")}


def test_looking_changes_nothing(door, desk):
    app, tokens = door
    of = client(app, tokens["approver"])
    desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    before = desk.ledger.entries()
    for what in ("approve", "refuse", "extend", "close"):
        for path in (f"/requests/1/{what}", f"/api/v1/requests/1/{what}"):
            assert of.get(path, params={"why": "x"}).status_code == 405, path
    for path in ("/requests", "/new/preview", "/runs/x/certify", "/logout"):
        assert of.get(path).status_code in (404, 405), path
    assert desk.ledger.entries() == before


def test_what_a_proxy_or_a_client_claims_opens_no_door(door):
    app, tokens = door
    claims = {"x-forwarded-host": "127.0.0.1", "x-forwarded-for": "127.0.0.1"}
    claims |= {"forwarded": "host=127.0.0.1", "x-real-ip": "127.0.0.1"}
    assert client(app).get("/api/v1/requests", headers=claims).status_code == 401
    other = claims | {"host": "evil.example"}
    assert client(app, tokens["auditor"]).get("/", headers=other).status_code == 403


@pytest.mark.parametrize("to", ["//evil.example", "http://evil.example", "/\\evil.example"])
def test_nobody_is_sent_elsewhere(door, to):
    app, tokens = door
    secret = app.state.access.link(tokens["requester"])
    ways = {"next": to, "redirect": to, "url": to}
    answer = client(app).get("/login", params={"once": secret, **ways})
    assert answer.status_code == 303 and answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "body", [b"[" * 10**6, b'{"a":' * 10**5, b"\xff\xfe", b"{", b'{"rule": NaN}']
)
def test_a_body_that_is_no_json_of_ours_is_refused(door, body):
    app, tokens = door
    of = client(app, tokens["requester"])
    headers = {"content-type": "application/json"}
    answer = of.post("/api/v1/requests", content=body, headers=headers)
    assert answer.status_code in (400, 422) and answer.json()["error"]
    assert of.post(
        "/api/v1/requests", content=b"<a/>", headers={"content-type": "text/xml"}
    ).is_error


def test_long_addresses_and_large_bodies_are_refused(door):
    app, tokens = door
    of = client(app, tokens["requester"])
    assert of.get("/?" + "x" * LONGEST_PATH).status_code == 414
    large = b"x" * (LARGEST + 1)
    assert of.post("/api/v1/requests", content=large).status_code == 413
    pieces = (b"x" * 2**20 for _ in range(LARGEST // 2**20 + 1))  # and no length is declared
    assert of.post("/api/v1/requests", content=pieces).status_code == 413
    told = of.post("/api/v1/requests", content=b"{}", headers={"content-length": "-1"})
    assert told.status_code == 413


def test_every_answer_forbids_scripts_frames_and_copies(door):
    app, tokens = door
    of = browser(app, tokens["auditor"])
    for path in ("/", "/nowhere", "/static/web.css", "/api/v1/requests", "/static/none"):
        headers = of.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_an_answer_to_a_fault_of_ours_forbids_as_much_and_tells_no_more(door, desk, monkeypatch):
    app, tokens = door
    monkeypatch.setattr(desk.ledger, "count", lambda **_: 1 / 0)
    of = client(app, tokens["auditor"], raise_server_exceptions=False)
    for path in ("/", "/api/v1/requests"):
        answer = of.get(path)
        assert answer.status_code == 500 and "zero" not in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, name
    assert "terminal" in answer.json()["error"]
    with pytest.raises(ZeroDivisionError):  # and the server's log hears of it
        client(app, tokens["auditor"]).get("/")


def test_the_api_says_as_json_what_the_doors_refuse(door):
    app, tokens = door
    answer = client(app, tokens["auditor"]).get("/api/v1/requests", headers={"host": "evil"})
    assert answer.status_code == 403 and "Host" in answer.json()["error"]


@pytest.mark.parametrize(
    "name",
    ["%2e%2e%2fledger.sqlite", "..%5Cledger.sqlite", "a%00b", "C:%5Cx", "x" * 300, "-rf"],
)
def test_no_name_from_outside_becomes_a_path(door, name):
    app, tokens = door
    of = client(app, tokens["auditor"])
    for path in (
        f"/runs/{name}",
        f"/runs/{name}/report",
        f"/static/{name}",
        f"/api/v1/runs/{name}",
    ):
        assert of.get(path).status_code in (404, 422), path


def test_a_rule_from_outside_names_no_file_of_this_machine(door, tmp_path):
    app, tokens = door
    secret = tmp_path / "secret.txt"
    secret.write_text("train/00001\n")
    of = client(app, tokens["requester"])
    for path in ("/api/v1/requests", "/api/v1/preview"):
        body = {"rule": f"ids={secret}"} | ({"subject": "case-1"} if path.endswith("s") else {})
        answer = of.post(path, json=body)
        assert answer.status_code == 422 and "ids go into their own field" in answer.text


ODD = "a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\x1eb", "a b"


def kept(desk, number):
    """Return the ids that a request is about."""
    with desk.ledger.reading() as connection:
        query = select(scopes.c.value).where(scopes.c.request == number).order_by(scopes.c.id)
        return tuple(connection.scalars(query))


def test_ids_are_registered_as_they_were_sent(door, desk):
    app, tokens = door
    sent = {"subject": "case-1", "ids": [*ODD, "a b"]}
    answer = client(app, tokens["requester"]).post("/api/v1/requests", json=sent)
    assert answer.status_code == 201, answer.text
    typed = {"subject": "case-2", "ids": "\r\n".join(("", *ODD[:4], " \t")) + "\n".join(ODD[4:])}
    assert browser(app, tokens["requester"]).post("/requests", data=typed).is_redirect
    assert kept(desk, 1) == ODD and kept(desk, 2) == ODD


@pytest.mark.parametrize("odd", ["a\nb", "a\r\nb", "a\rb", "a\n", " a", "a\u2028", "\0", " ", ""])
def test_an_id_of_several_lines_is_refused_and_never_read_as_several(door, desk, odd):
    app, tokens = door
    of = client(app, tokens["requester"])
    for path, more in (("requests", {"subject": "case-1"}), ("preview", {})):
        answer = of.post(f"/api/v1/{path}", json={"ids": ["train/00001", odd]} | more)
        assert answer.status_code == 422, path
        assert odd == "" or "Expected ids of one line each" in answer.json()["error"]
    assert desk.ledger.count() == 0


def test_what_is_misspelt_is_refused_and_named(door):
    app, tokens = door
    of = client(app, tokens["requester"])
    answer = of.post("/api/v1/requests", json=SCOPE | {"recieved": "2026-01-31"})
    assert answer.status_code == 422 and "recieved" in answer.json()["error"]
    answer = of.post("/api/v1/requests", json=SCOPE | {"subject": "Ana Example"})
    assert answer.status_code == 422 and "opaque" in answer.json()["error"]
    assert of.get("/api/v1/requests/77").status_code == 404
    assert of.get("/api/v1/requests").json() == {"total": 0, "requests": []}


@pytest.mark.parametrize(
    "number", [0, -1, 2**31, 2**63, 10**20, 10**3000], ids=lambda n: f"{len(str(n))}"
)
def test_a_number_that_no_ledger_holds_is_of_no_request(door, number):
    app, tokens = door
    of, program = browser(app, tokens["approver"]), client(app, tokens["approver"])
    extension = {"until": "2027-01-31", "why": "many"}
    for what, sent in (("approve", {}), ("refuse", {"why": "x"}), ("extend", extension)):
        assert of.post(f"/requests/{number}/{what}", data=sent).status_code == 404, what
        path = f"/api/v1/requests/{number}/{what}"
        assert program.post(path, json=sent).status_code == 404, what
    assert of.post(f"/requests/{number}/close", data={}).status_code == 404
    closing = program.post(f"/api/v1/requests/{number}/close", json={"checklist": {}})
    assert closing.status_code == 404
    for path in (f"/requests/{number}", f"/requests/{number}/log"):
        answer = program.get(f"/api/v1{path}")
        assert answer.status_code == 404 and len(answer.json()["error"]) < 100
    assert of.get(f"/requests/{number}").status_code == 404


def test_words_of_people_are_shown_as_words(door):
    app, tokens = door
    script = "<script>alert(1)</script>"
    of = client(app, tokens["requester"])
    of.post("/api/v1/requests", json=SCOPE | {"why": script})
    page = browser(app, tokens["requester"]).get("/requests/1").text
    assert script not in page and "&lt;script&gt;alert(1)" in page


def test_the_pages_lead_a_request_from_form_to_decision(door, desk):
    app, tokens = door
    of, by = browser(app, tokens["requester"]), browser(app, tokens["approver"])
    answer = of.post("/requests", data=SCOPE | {"received": "2026-01-31"})
    assert answer.headers["location"] == "/requests/1"
    page = by.get("/requests/1").text
    assert "2026-02-28" in page and 'action="/requests/1/approve"' in page
    assert by.post("/requests/1/extend", data={"until": "2026-03-31", "why": "many"}).is_redirect
    assert by.post("/requests/1/approve", data={}).is_redirect
    assert desk.ledger.show(1).state == "approved" and str(desk.ledger.show(1).due) == "2026-03-31"
    assert "approved" in of.get("/").text
    assert of.post("/logout").is_redirect and of.get("/").headers["location"] == "/login"


def test_the_list_is_paged_and_counts_down(door, desk):
    app, tokens = door
    for n in range(55):
        desk.ledger.add(f"case-{n}", CONFIG, by="ana", rule="class=1")
    of = browser(app, tokens["auditor"])
    first, second = (of.get(path).text for path in ("/", "/?show=open&at=2"))
    assert first.count("<tr class=") == 50 and second.count("<tr class=") == 5
    assert "page 1 of 2" in first and re.search(r"\d+ days left", first)
    assert of.get("/?at=0").status_code == 422
    assert of.get("/?show=open&at=99999").text == second  # the last that there is


def test_who_decides_sees_which_images_and_nobody_else_and_nobody_later(door, desk):
    app, tokens = door
    desk.ledger.add("case-1", CONFIG, by="ana", rule="where=source:<b>zoo</b>")
    many = [f"train/{n:05}" for n in range(MOST_IDS + 1)]
    desk.ledger.add("case-2", CONFIG, by="ana", ids=many)
    for role in ("requester", "auditor"):
        page = browser(app, tokens[role])
        assert "zoo" not in page.get("/requests/1").text + page.get("/requests/2").text
        asked = client(app, tokens[role])
        assert asked.get("/api/v1/requests/1/scope").status_code == 403
        assert asked.post("/api/v1/requests/1/preview").status_code == 403
        assert page.post("/requests/1/preview").status_code == 403
    page, asked = browser(app, tokens["approver"]), client(app, tokens["approver"])
    assert "where=source:&lt;b&gt;zoo&lt;/b&gt;" in page.get("/requests/1").text
    shown = page.get("/requests/2").text
    assert "201 ids" in shown and many[-2] in shown and many[-1] not in shown
    found = asked.get("/api/v1/requests/2/scope").json()
    how = {"data": "digits", "model": None, "arch": "convnet", "method": "snu_deep"}
    assert found == {"rule": "", "ids": many, **how}
    assert "convnet" in shown and "<code>snu_deep</code>" in shown
    desk.ledger.add("case-3", CONFIG, by="ana", ids=["x" * 3000])  # more than the API itself takes
    assert asked.get("/api/v1/requests/3/scope").json()["ids"] == ["x" * 3000]
    desk.ledger.refuse(2, by="ben", why="no")
    assert "train/" not in page.get("/requests/2").text
    for answer in (
        asked.get("/api/v1/requests/2/scope"),
        asked.post("/api/v1/requests/2/preview"),
        page.post("/requests/2/preview", headers={"hx-request": "true"}),
    ):
        assert "nobody knows its images now" in answer.text
    assert asked.get("/api/v1/requests/99/scope").status_code == 404


def test_what_a_purge_keeps_of_a_run_can_still_be_read(door, desk):
    def run(config, folder):
        found = runs.example()
        finished(folder, found)
        (folder / "report.html").write_text("the report")
        (folder / "certificate.json").write_text("{}")
        return found

    app, tokens = door
    number = desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    desk.ledger.approve(number, by="ben")
    Worker(desk.ledger, desk.shelf.root, name="w", run=run).serve(once=True)
    desk.ledger.close(number, by="ben", partly=True, why="red", done=[*CHECKLIST])
    desk.ledger.purge(number, by="ben")
    of = browser(app, tokens["approver"])
    assert not (desk.shelf.folder("job-00001") / "config.json").exists()
    for path in ("/runs", "/runs/job-00001", "/runs/job-00001/map", f"/requests/{number}"):
        assert of.get(path).status_code == 200, path
    assert "/runs/job-00001" in of.get(f"/requests/{number}").text
    page = of.get(f"/requests/{number}").text
    assert "<bdi>We have done so in part." in page and "\ufffd" not in page
    said = of.get("/runs/job-00001").text
    assert "A purge has taken" in said and "Certify" not in said and "Feature map" not in said
    assert "<html" in of.get("/runs/job-00001/report").text
    assert of.get("/runs/job-00001/certificate").json() == {}


def test_files_of_ids_that_a_killed_server_left_go_and_those_in_use_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "unsee-ids-of-a-dead-one.txt").write_text("train/00001")
    (tmp_path / "unsee-notes.txt").write_text("of somebody else")
    if os.geteuid() == 0:  # who may write to it cannot delete it in a folder like /tmp
        theirs = tmp_path / "unsee-ids-of-another-user.txt"
        theirs.write_text("train/00003")
        os.chown(theirs, 65534, 65534)
        with ids_file(["train/00002"]):
            pass
        assert theirs.exists()
        theirs.unlink()
    with ids_file(["train/00002"]) as path:
        assert {x.name for x in tmp_path.iterdir()} == {path.name, "unsee-notes.txt"}
        clear_left()
        assert path.read_text() == "train/00002\n" and path.stat().st_mode & 0o077 == 0
    assert [x.name for x in tmp_path.iterdir()] == ["unsee-notes.txt"]


def test_a_server_begins_by_deleting_what_a_killed_one_left(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "unsee-ids-of-a-dead-one.txt").write_text("train/00001")
    application(desk, fresh()[0])
    assert not [*tmp_path.glob("unsee-*")]


def test_a_preview_counts_the_digits_and_writes_nothing(door, desk):
    app, tokens = door
    before = desk.ledger.entries()
    answer = client(app, tokens["requester"]).post(
        "/api/v1/preview", json={"ids": ["train/00001", "train/00002", "train/00002"]}
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["counts"]["forget"] == 2 and found["trained"] == 1437
    assert sum(row[1] for row in found["classes"]) == 2 and found["seconds"]["unlearn"] > 0
    assert desk.ledger.entries() == before
    unknown = browser(app, tokens["requester"]).post(
        "/new/preview", data={"ids": "train/99999"}, headers={"hx-request": "true"}
    )
    assert unknown.status_code == 200 and "train/99999" in unknown.text and "fault" in unknown.text


def test_who_decides_counts_what_a_request_touches_by_its_own_settings(door, desk):
    app, tokens = door
    small = dataclasses.replace(CONFIG, method="finetune")
    desk.ledger.add("case-1", small, by="ana", ids=["train/00001", "train/00002"])
    found = client(app, tokens["approver"]).post("/api/v1/requests/1/preview").json()
    assert found["counts"]["forget"] == 2 and found["trained"] == 1437
    shown = browser(app, tokens["approver"]).post("/requests/1/preview").text
    assert "<strong>2</strong> of 1437 training images" in shown and "2 ids" in shown
    assert "<code>finetune</code> would be shown" in shown  # the page's own method is another


@pytest.mark.parametrize("code", [{"method": "{}/own.py:go"}, {"arch": "own_net:make"}])
def test_a_preview_runs_no_code_that_somebody_named_in_a_request(door, desk, tmp_path, code):
    app, tokens = door
    mark = tmp_path / "ran"
    for name in ("own.py", "own_net.py"):
        (tmp_path / name).write_text(f"open({str(mark)!r}, 'w')")
    named = {name: text.format(tmp_path) for name, text in code.items()}
    desk.ledger.add("case-1", dataclasses.replace(CONFIG, **named), by="ana", rule="class=1")
    answer = client(app, tokens["approver"]).post("/api/v1/requests/1/preview")
    assert answer.status_code == 422 and "without code of its own" in answer.json()["error"]
    assert not mark.exists()
    (text,) = named.values()
    assert text in browser(app, tokens["approver"]).get("/requests/1").text  # who approves sees it


@pytest.mark.parametrize("arch", [None, "convnet", "resnet18:cifar", "timm:vit", "a.b:make", "x:"])
def test_an_architecture_is_code_of_ones_own_where_checkpoints_may_not_name_it(arch):
    own = arch in ("a.b:make", "x:")
    with pytest.raises(ModelError) if own else nullcontext():
        without_code(arch or "")
    assert _desk._imports(arch) == own


@pytest.mark.filterwarnings("ignore:Expected model")  # the terminal's part of it
def test_a_preview_from_a_model_that_was_exchanged_names_no_place(door, desk):
    app, tokens = door
    desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    desk.ledger.approve(1, by="ben")
    Worker(desk.ledger, desk.shelf.root, name="w", run=stub_worker.pipeline).serve(once=True)
    (model,) = [each for each in desk.ledger.models() if each.state == "in use"]
    model.path.write_bytes(b"another")
    desk.ledger.add("case-2", CONFIG, by="ana", rule="class=2")
    told = client(app, tokens["approver"]).post("/api/v1/requests/2/preview")
    assert told.status_code == 422 and "Expected the model in use" in told.json()["error"]
    assert str(model.path.parent) not in told.text


def test_a_request_that_was_tampered_with_is_shown_as_such_and_not_approved(door, desk):
    app, tokens = door
    desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    with desk.ledger.writing() as log:
        log.connection.execute(update(requests).values(config="{}"))
    assert (
        "got another: its images or settings"
        in browser(app, tokens["approver"]).get("/requests/1").text
    )
    asked = client(app, tokens["approver"])
    for answer in (
        asked.post("/api/v1/requests/1/preview"),
        asked.get("/api/v1/requests/1/scope"),
        asked.post("/api/v1/requests/1/approve", json={}),
    ):
        assert answer.status_code == 422 and "as it was added" in answer.json()["error"]


def test_the_form_that_closes_a_request_says_of_each_item_one_thing(door, desk):
    app, tokens = door
    desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    desk.ledger.approve(1, by="ben")
    Worker(desk.ledger, desk.shelf.root, name="w", run=stub_worker.pipeline).serve(once=True)
    desk.ledger.tick(1, "backups", by="ben")
    page = browser(app, tokens["approver"])
    form = {f"{item}-done": "1" for item in CHECKLIST}
    for wrong, got in (
        ({x: form[x] for x in form if x != "backups-done"}, "neither"),  # its tick was taken off
        (form | {"backups-why": "gone in a month"}, "both"),
        ({x: form[x] for x in form if x != "backups-done"} | {"backups-why": "Done"}, "Done"),
    ):
        told = page.post("/requests/1/close", data=wrong)
        assert told.status_code == 422 and f"got {got}" in told.text.replace("&#39;", "")
        assert desk.ledger.show(1).state == "audited"
    said = dict.fromkeys(CHECKLIST, "done") | {"backups": "DONE"}
    program = client(app, tokens["approver"])
    told = program.post("/api/v1/requests/1/close", json={"checklist": said})
    assert told.status_code == 422 and "another spelling" in told.json()["error"]
    assert page.post("/requests/1/close", data=form).is_redirect
    assert desk.ledger.show(1).state == "completed"


def test_while_a_request_waits_to_be_closed_others_are_answered(door, desk, monkeypatch):
    app, tokens = door
    desk.ledger.add("case-1", CONFIG, by="ana", rule="class=1")
    begun, end = threading.Event(), threading.Event()

    def waiting(*_, **__):
        begun.set()
        assert end.wait(30)
        raise LedgerError("Expected to wait")

    monkeypatch.setattr(Desk, "close", waiting)
    form = {f"{item}-done": "1" for item in CHECKLIST}
    with TestClient(app, base_url=HERE) as here, ThreadPoolExecutor() as pool:
        here.post("/login", data={"token": tokens["approver"]})
        slow = pool.submit(here.post, "/requests/1/close", data=form)
        try:
            assert begun.wait(30)
            assert pool.submit(here.get, "/static/web.css").result(10).status_code == 200
        finally:
            end.set()
        assert slow.result(30).status_code == 422


def test_a_file_of_tokens_is_read_and_its_faults_are_named(tmp_path):
    file = tmp_path / "tokens"
    token = "a-long-enough-token"
    file.write_text(f"# who\napprover ana {hashlib.sha256(token.encode()).hexdigest()}\n")
    file.chmod(0o600)
    access = from_file(file)
    assert access.by_token(token) == Visitor("ana", "approver")
    assert access.by_link(token) is None  # such a token is no link
    file.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        from_file(file)
    file.chmod(0o600)
    for text in ("", "owner ana " + "0" * 64, "approver ana xyz", f"approver a {'0' * 64}\n" * 2):
        file.write_text(text)
        with pytest.raises(OptionError):
            from_file(file)


def test_a_file_of_tokens_is_read_again_when_it_changes(tmp_path, desk):
    file, line = tmp_path / "tokens", "auditor {} {}\n"
    ana, ben = ("a-long-enough-token-of-ana", "a-long-enough-token-of-ben")
    names = {token: hashlib.sha256(token.encode()).hexdigest() for token in (ana, ben)}
    file.write_text(line.format("ana", names[ana]))
    file.chmod(0o600)
    app = application(desk, from_file(file))
    tab = client(app)
    assert tab.post("/login", data={"token": ana}).status_code == 303
    assert tab.get("/").status_code == 200
    assert client(app, ben).get("/api/v1/requests").status_code == 401
    file.write_text(line.format("ben", names[ben]).replace("auditor", "requester"))
    assert client(app, ben).post("/api/v1/requests", json=SCOPE).status_code == 201
    assert client(app, ana).get("/api/v1/requests").status_code == 401
    assert tab.get("/").headers["location"] == "/login"  # and her session is over with her token
    for fault in ("owner ana 0\n", None):
        file.unlink() if fault is None else file.write_text(fault)
        with pytest.warns(UserWarning, match="who was let in before still is"):
            assert client(app, ben).get("/api/v1/requests").status_code == 200
        assert client(app, ben).get("/api/v1/requests").status_code == 200  # it is told once
    file.write_text(line.format("ana", names[ana]))
    file.chmod(0o600)
    assert client(app, ben).get("/api/v1/requests").status_code == 401
    assert client(app, ana).get("/api/v1/requests").status_code == 200


def test_the_api_says_what_it_takes(door):
    app, tokens = door
    schema = client(app, tokens["auditor"]).get("/api/v1/openapi.json").json()
    assert "/api/v1/requests/{number}/approve" in schema["paths"]
    assert all(path.startswith("/api/v1/") for path in schema["paths"])
    assert json.dumps(schema)


def test_an_uploaded_certificate_is_verified_and_a_tampered_one_named(door):
    app, tokens = door
    golden = sorted((Path(__file__).parent / "golden" / "certificates").glob("*.json"))[0]
    of = browser(app, tokens["auditor"])
    good = of.post("/certificates", files={"certificate": ("../../x", golden.read_bytes())})
    assert good.status_code == 200 and "Self-consistent only" in good.text
    envelope = json.loads(golden.read_text())
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    bad = of.post("/certificates", files={"certificate": ("x", json.dumps(envelope).encode())})
    assert "The check <strong>signature</strong> failed" in bad.text
    assert of.post("/certificates", files={"certificate": ("x", b"\0")}).status_code == 200
    other = of.post(
        "/certificates",
        files={"certificate": ("x", golden.read_bytes())},
        data={"key": "no key"},
    )
    assert other.status_code == 422


def test_a_key_that_is_not_usable_is_told_in_the_terminal_alone(desk, tmp_path):
    golden = sorted((Path(__file__).parent / "golden" / "certificates").glob("*.json"))[0]
    finished(tmp_path / "jobs" / "one")
    desk.key = tmp_path / "secret-place" / "key.pem"
    access, tokens = fresh()
    app = application(desk, access)
    files = {"certificate": ("x", golden.read_bytes())}
    for role in tokens:
        of = client(app, tokens[role])
        with pytest.warns(UserWarning, match="secret-place"):
            told = of.post("/certificates", files=files)
        assert told.status_code == 422 and "terminal says why" in told.text
        assert "secret-place" not in told.text and "passphrase" not in told.text
    with pytest.warns(UserWarning, match="secret-place"):
        told = client(app, tokens["approver"]).post("/runs/one/certify")
    assert told.status_code == 422 and "secret-place" not in told.text


def test_a_preview_names_the_twins_that_stay(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    images[7] = images[3]
    labels = np.arange(24) % 3
    parts = {"train_images": images, "train_labels": labels}
    parts |= {"test_images": 255 - images, "test_labels": labels}
    np.savez(tmp_path / "data.npz", **parts)
    config = dataclasses.replace(CONFIG, data=f"npz:{tmp_path / 'data.npz'}")
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        access, tokens = fresh()
        app = application(Desk(ledger, Shelf(tmp_path / "jobs"), config), access)
        sent = {"ids": "train/00003"}
        page = browser(app, tokens["requester"]).post("/new/preview", data=sent)
    assert page.status_code == 200, page.text
    notes = re.findall(r'<p class="note">([^<]+)', page.text)
    assert any("1 exact twins" in x and "train/00007" in x and "stay" in x for x in notes), notes
    assert str(tmp_path) not in page.text and "/tmp/" not in page.text  # nor the file of ids


def test_pictures_of_the_explorer_are_those_that_moved_at_their_places():
    run = example()
    places = run.arrays["plane/moved"]
    grey = np.arange(len(places), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 1, 4, 4), np.uint8
    )
    for images in (grey, np.repeat(grey, 3, 1)):
        arrays = run.arrays | {"pictures/forget-moved/images": images}
        shown = feature_map(dataclasses.replace(run, arrays=arrays))["pictures"]
        assert [*shown] == [str(int(n)) for n in places]
        for n, address in enumerate(shown.values()):
            kind, _, content = address.partition(",")
            assert kind == "data:image/png;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(content)))
            assert picture.size == (SIDE, SIDE) and {*picture.convert("L").tobytes()} == {n}
    for name in ("plane/moved", "pictures/forget-moved/images"):
        arrays = {k: v for k, v in run.arrays.items() if k != name}
        assert feature_map(dataclasses.replace(run, arrays=arrays))["pictures"] == {}
    assert feature_map(redacted(run))["pictures"] == {}

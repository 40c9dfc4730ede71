"""The forms of the pages under whatever is typed and uploaded: an answer, and no fault of ours."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")

from hypothesis import given, settings, strategies as st
from starlette.testclient import TestClient

from unsee.ledger import CHECKLIST, Ledger
from unsee.nouns import Config
from unsee.web import Desk, Shelf, application, fresh

ANSWERS = (200, 303, 404, 413, 422)
GOLDEN = sorted((Path(__file__).parent / "golden" / "certificates").glob("*.json"))[0].read_bytes()
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
words = st.text(st.characters(codec="utf-8"), max_size=30)
numbers = st.one_of(st.integers(0, 4), st.integers(), words)
fields = st.sampled_from(
    ["subject", "rule", "ids", "received", "why", "until", "partly", "token", "odd"]
    + [f"{item}-{x}" for item in CHECKLIST for x in ("done", "why")]
)
good = {"subject": "case-1", "rule": "class=3", "until": "2027-01-31", "received": "2026-01-31"}
values = st.one_of(words, st.sampled_from([*good.values(), "", "\0", "ids=/etc/passwd", "on"]))
forms = st.dictionaries(fields, values, max_size=8).flatmap(
    lambda form: st.sampled_from([form, good | form, form | good])
)
verbs = st.sampled_from(["approve", "refuse", "extend", "close"])


@pytest.fixture(scope="module")
def tabs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    with Ledger(str(folder / "ledger.sqlite")) as ledger:
        desk = Desk(ledger, Shelf(folder / "jobs"), Config(data="digits"))
        access, tokens = fresh()
        app = application(desk, access)
        found = {}
        for role in ("requester", "approver"):
            found[role] = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
            found[role].post("/login", data={"token": tokens[role]})
        assert found["requester"].post("/requests", data=good).is_redirect
        yield found
        assert ledger.verify().bad is None  # whatever was typed


def sound(answer):
    assert answer.status_code in ANSWERS, answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Traceback" not in answer.text and "/src/" not in answer.text


@few
@given(form=forms)
def test_a_form_of_a_new_request_is_answered(tabs, form):
    sound(tabs["requester"].post("/requests", data=form))


@few
@given(number=numbers, verb=verbs, form=forms)
def test_a_form_that_decides_is_answered(tabs, number, verb, form):
    path = f"/requests/{str(number).encode().hex() if isinstance(number, str) else number}/{verb}"
    sound(tabs["approver"].post(path, data=form))


@few
@given(form=forms)
def test_a_form_that_lets_in_is_answered(tabs, form):
    answer = tabs["requester"].post("/login", data=form)
    assert answer.status_code in (403, 422) and "set-cookie" not in answer.headers


@few
@given(
    name=words,
    kind=st.sampled_from(["text/plain", "application/json", "", "multipart/mixed"]),
    cut=st.tuples(st.integers(0, len(GOLDEN)), st.integers(0, 60), st.binary(max_size=60)),
    key=st.one_of(words, st.just("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")),
)
def test_an_upload_is_answered(tabs, name, kind, cut, key):
    start, length, put = cut
    content = GOLDEN[:start] + put + GOLDEN[start + length :]
    files = {"certificate": (name or "x", content, kind)}
    sound(tabs["requester"].post("/certificates", files=files, data={"key": key}))


@few
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                [b"--b", b"--b--", b"\r\n", b"\n", b"\0", b"x" * 50, b'name="certificate"']
                + [b"Content-Disposition: form-data; ", b'filename="', b"Content-Type: ", b'"']
            ),
            max_size=15,
        ).map(b"".join),
    ),
    kind=st.sampled_from(
        [
            "multipart/form-data; boundary=b",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "application/x-www-form-urlencoded",
            "application/json",
            "multipart/form-data; boundary=b; charset=nothing",
        ]
    ),
    path=st.sampled_from(["/certificates", "/requests", "/requests/1/close", "/new/preview"]),
)
def test_a_body_that_is_hardly_a_form_is_answered(tabs, body, kind, path):
    answer = tabs["approver"].post(path, content=body, headers={"content-type": kind})
    assert answer.status_code in (*ANSWERS, 400), answer.text
    assert json.dumps(answer.text)

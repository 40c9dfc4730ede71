"""The API under whatever its own description allows, and more: it answers, and never breaks."""

import json
from collections import Counter

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")
pytest.importorskip("schemathesis", reason="needs schemathesis to draw messages")

import schemathesis
from finished import finished
from hypothesis import given, settings, strategies as st
from schemathesis import GenerationMode

from unsee.certificate import new_key
from unsee.ledger import Ledger
from unsee.nouns import Config
from unsee.web import Desk, Shelf, application, fresh
from unsee.web._aside import Aside

RUNS = ("one", "two")
REQUESTS = 3
EXPECTED = (200, 201, 400, 401, 403, 404, 405, 413, 414, 422)
COUNTED = {  # what a preview's own process would say after seconds: that has its own tests
    "data": "digits",
    "rule": "class=1",
    "method": "finetune",
    "counts": {"forget": 1, "retain": 2, "test": 3},
    "trained": 3,
    "shown": 2,
    "classes": [["1", 1, 2, 3]],
    "seconds": {"unlearn": 1.0},
}


class Counted(Aside):
    """Answers a preview at once: its messages are tested here, not the counting."""

    async def ask(self, module, question, gone):
        """Say that it was counted, for a question that could be asked as JSON."""
        assert module == "unsee.rehearsal" and json.dumps(question, default=str)
        return {"found": COUNTED, "notes": []}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    with Ledger(str(folder / "ledger.sqlite")) as ledger:
        key, shelf = folder / "key.pem", Shelf(folder / "jobs")
        new_key(key)
        desk = Desk(ledger, shelf, Config(data="digits"), key, aside=Counted())
        for name in RUNS:
            (finished(shelf.root / name) / "report.html").write_text("<p>the report</p>")
        for n in range(REQUESTS):
            desk.ledger.add(f"case-{n}", desk.config, by="ana", rule="class=1")
        access, tokens = fresh()
        headers = {"host": "127.0.0.1", "authorization": f"Bearer {tokens['approver']}"}
        app = application(desk, access)
        schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=headers)
        schema.config.update(headers=headers)
        yield schema
        assert ledger.verify().bad is None  # whatever was asked of it


def aimed(case, number):
    """Let a message be about something that is there; 0: about whatever was drawn."""
    places = case.path_parameters or {}
    if number and "name" in places:
        places["name"] = RUNS[0]
    if number and "number" in places:
        places["number"] = number
    if number and "run" in (case.query or {}):
        case.query["run"] = [*RUNS]
    return case


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_message_gets_an_answer(described, mode):
    """Messages as the description allows them, and ones that it does not."""
    seen = Counter()
    for found in described.get_all_operations():
        operation = found.ok()
        if mode.is_negative and not ([*operation.iter_parameters()] or operation.body):
            continue  # takes nothing, so nothing can be wrong

        @settings(max_examples=15, deadline=None, derandomize=True, database=None)
        @given(case=operation.as_strategy(mode), number=st.integers(0, REQUESTS))
        def ask(case, number):
            answer = aimed(case, number).call()
            seen[case.path, answer.status_code] += 1
            assert answer.status_code in EXPECTED, f"{case.method} {case.path}: {answer.text}"
            if answer.status_code >= 400:
                assert "Traceback" not in answer.text and "/src/" not in answer.text

        ask()
    codes = {code for _, code in seen}
    if mode.is_negative:
        assert {400, 422} <= codes, seen  # no JSON, and JSON of another kind
    else:
        assert {200, 201, 404, 422} <= codes, seen  # came through, made, not found, refused
        assert seen["/api/v1/requests/{number}/approve", 200], seen  # of requests that are there

"""The API of runs, certificates and models: what the pages show, for programs."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="pip install 'unsee[web]'")

import runs
from finished import finished
from starlette.testclient import TestClient

from unsee.certificate import new_key
from unsee.ledger import CHECKLIST, Ledger, Worker
from unsee.nouns import Config
from unsee.reporting import beside, page, redacted
from unsee.web import Desk, Shelf, application, fresh
from unsee.web._explorer import feature_map

API = "http://127.0.0.1:8000/api/v1"


@pytest.fixture
def desk(tmp_path):
    new_key(tmp_path / "key.pem")
    with Ledger(str(tmp_path / "ledger.sqlite")) as ledger:
        yield Desk(ledger, Shelf(tmp_path / "jobs"), Config(), tmp_path / "key.pem")


@pytest.fixture
def ask(desk):
    """A function that asks the API, as somebody in a role."""
    access, tokens = fresh()
    app = application(desk, access)

    def asked(method, path, *, role="approver", **more):
        headers = {"authorization": f"Bearer {tokens[role]}"} if role else {}
        with TestClient(app, base_url=API, headers=headers) as client:
            return client.request(method, f"{API}{path}", **more)

    return asked


def pipeline(config, folder):
    finished(folder, redacted(runs.example()))
    (folder / "report.html").write_text("<!doctype html><p>the report</p>")
    return runs.example()


@pytest.fixture
def served(desk):
    """The name of a run that has served a request."""
    desk.ledger.approve(desk.ledger.add("case-1", Config(), by="ana", rule="class=1"), by="ben")
    Worker(desk.ledger, desk.shelf.root, name="w", run=pipeline).serve(once=True)
    return "job-00001"


def test_a_run_is_handed_out_as_audit_report_and_map(ask, desk, served):
    assert ask("GET", "/runs").json() == [served]
    audit = json.loads(desk.shelf.run(served).to_json())
    assert audit["forget"].pop("ids_digest")  # who has it can tell whether a guess is right
    assert ask("GET", f"/runs/{served}").json() == audit
    report = ask("GET", f"/runs/{served}/report")
    assert "the report" in report.text and report.headers["content-type"].startswith("text/html")
    assert "sandbox" in report.headers["content-security-policy"]
    wanted = feature_map(desk.shelf.run(served, arrays=True))
    assert ask("GET", f"/runs/{served}/map").json() == json.loads(json.dumps(wanted))


def test_progress_is_a_stream_of_events_that_ends_with_the_run(ask, served):
    told = ask("GET", f"/runs/{served}/progress")
    assert told.headers["content-type"].startswith("text/event-stream")
    assert told.text.endswith("event: finished\ndata: {}\n\n")


def test_progress_says_nothing_that_names_images(ask, desk, served):
    said = {"time": 1.0, "stage": "train", "event": "error", "message": "SplitError: anna_07.png"}
    (desk.shelf.folder(served) / "events.jsonl").write_text(json.dumps(said) + "\n")
    told = ask("GET", f"/runs/{served}/progress", role="auditor").text
    assert '"event": "error"' in told and "anna" not in told


def test_a_certificate_is_signed_handed_out_and_verified(ask, desk, served):
    path = f"/runs/{served}/certificate"
    assert ask("GET", path).status_code == 404
    assert ask("POST", path, role="auditor").status_code == 403
    made = ask("POST", path)
    assert made.status_code == 201 and ask("GET", path).content == made.content
    (row,) = [x for x in desk.ledger.entries(1) if x.what == "certified"]
    assert row.who == "approver"
    good = ask("POST", "/certificates", json={"certificate": made.text}).json()
    assert good["passed"] and good["trusted"] and good["predicate"]["ledger"]["requests"] == [1]
    envelope = made.json()
    signature = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("A" if signature[0] != "A" else "B") + signature[1:]
    bad = ask("POST", "/certificates", json={"certificate": json.dumps(envelope)})
    assert bad.status_code == 200
    assert bad.json()["passed"] is False and bad.json()["check"] == "signature"
    wrong = {"certificate": made.text, "key": "no key"}
    assert ask("POST", "/certificates", json=wrong).status_code == 422


def test_a_run_that_cannot_be_signed_is_told_without_the_place_of_its_folder(ask, desk, served):
    (desk.shelf.folder(served) / "audit.json").write_text("{}")
    told = ask("POST", f"/runs/{served}/certificate")
    assert told.status_code == 422 and str(desk.shelf.root) not in told.text
    assert "job-00001" in told.json()["error"]


def test_a_run_whose_folder_another_ledger_has_is_not_signed(ask, desk, served):
    (desk.shelf.root / ".ledger").write_text("0" * 64)
    told = ask("POST", f"/runs/{served}/certificate")
    assert told.status_code == 422 and "of a request of this ledger" in told.json()["error"]
    assert ask("GET", "/requests/1").json()["run"] is None


def test_a_request_tells_what_was_said_of_its_checklist_and_what_replaces_the_model(
    ask, desk, served
):
    desk.ledger.tick(1, "caches", by="ben")
    told = ask("GET", "/requests/1").json()
    original, made = ask("GET", "/models").json()
    assert told["checklist"] == {"caches": "done"} and told["models"] == [made]
    assert made["parent"] == original["number"] and made["path"] == "model.safetensors"


def test_a_report_shows_no_image_even_of_a_run_that_does(ask, desk):
    place = finished(desk.shelf.root / "other", arrays=True)
    shows = page(runs.example())
    (place / "report.html").write_text(shows)
    told = ask("GET", "/runs/other/report").text
    assert told == page(redacted(runs.example()))
    assert told.count("data:image") < shows.count("data:image")


def test_runs_stand_side_by_side(ask, desk, served):
    finished(desk.shelf.root / "other")
    found = ask("GET", f"/compare?run={served}&run=other").json()
    wanted = beside([desk.shelf.run(n, arrays=True) for n in (served, "other")], [served, "other"])
    assert [each["run"] for each in found] == [served, "other"]
    assert [each["why"] for each in found] == [each.why for each in wanted]
    assert [[d["name"] for d in each["differences"]] for each in found] == [
        [d.name for d in each.differences] for each in wanted
    ]
    assert found[1]["audit"]["models"].keys() == desk.shelf.run("other").measurements.keys()
    assert ask("GET", f"/compare?run={served}").status_code == 422
    assert ask("GET", f"/compare?run={served}&run={served}").status_code == 422
    assert ask("GET", f"/compare?run={served}&run=nowhere").status_code == 404


@pytest.mark.parametrize("what", ["", "/report", "/map", "/progress", "/certificate"])
def test_what_is_not_there_and_who_is_not_in(ask, desk, what):
    (desk.shelf.root / "half").mkdir(parents=True)
    (desk.shelf.root / "half" / "config.json").write_text("{}")
    assert ask("GET", f"/runs/nowhere{what}").status_code == 404
    assert ask("GET", f"/runs/nowhere{what}", role=None).status_code == 401
    if what != "/progress":  # which waits for it
        wanted = (
            404 if what == "/certificate" else 422
        )  # an unfinished run is there, and is no run yet
        assert ask("GET", f"/runs/half{what}").status_code == wanted


def test_the_description_is_for_who_has_come_in(ask):
    assert ask("GET", "/openapi.json", role=None).status_code == 401


def test_every_address_is_described_and_in_the_documentation(ask):
    paths = ask("GET", "/openapi.json").json()["paths"]
    assert {"/api/v1/runs/{name}/report", "/api/v1/certificates", "/api/v1/compare"} <= paths.keys()
    page = (Path(__file__).parents[1] / "docs" / "web.md").read_text()
    ends = {path.rpartition("/")[2] for path in paths} - {"{number}", "{name}"}
    assert not [end for end in ends if f"/{end}" not in page]


def test_the_answer_to_a_person_is_handed_out_once_there_is_one(ask, desk, served):
    assert ask("GET", "/requests/1/answer").status_code == 422
    desk.ledger.close(1, by="ben", partly=True, why="red", done=[*CHECKLIST])
    told = ask("GET", "/requests/1/answer")
    assert told.headers["content-type"].startswith("text/plain")
    assert told.text == desk.ledger.answer(1) and "We have done so in part." in told.text

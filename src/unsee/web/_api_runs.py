"""The API of runs, certificates and models: as the pages show them, for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from unsee.errors import RunError
from unsee.nouns import Run
from unsee.reporting import beside
from unsee.web import _certificates, _progress, _runs
from unsee.web._api import FAULTS, Body, Fault, Version, version
from unsee.web._explorer import feature_map
from unsee.web._visitors import AtDesk, Decider, Reader

router = APIRouter(responses=FAULTS)
Name = Annotated[
    str, Path(max_length=100, description="of a run; 404: there is none; 422: it is not finished")
]
Names = Annotated[
    Sequence[Annotated[str, Field(max_length=100)]],
    Query(min_length=2, max_length=8, description="of runs, the one to hold others against first"),
]
CERTIFICATES = 2**20  # characters: `unsee verify` reads no more bytes


A_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}}}


class Signed(Body):
    """A certificate, as its file has it, and the key to verify it by."""

    certificate: Annotated[str, Field(max_length=CERTIFICATES)]
    key: Annotated[str, Field(max_length=2000, description="PEM; empty: this server's own")] = ""


class Verified(BaseModel):
    """What came of a certificate's checks; of one that failed, which check and why."""

    passed: bool
    trusted: bool = False  # whether the key was given, and not the one inside the certificate
    own: bool = False  # whether it was this server's, since none was sent
    keyid: str = ""
    subjects: list[dict[str, Any]] = []
    predicate: dict[str, Any] = {}
    check: str = ""
    why: str = ""


class Difference(BaseModel):
    """What a run has more than the first one, image by image, in one measurement."""

    name: str
    value: float
    low: float
    high: float
    n: int
    how: str


class Beside(BaseModel):
    """One of several runs; of the first there are no differences, of others perhaps not: why."""

    run: str
    audit: dict[str, Any]
    why: str
    differences: list[Difference]


def _audit(run: Run) -> dict[str, Any]:
    """Return an audit.json without the digest of the ids: it tells whether a guess is right."""
    found: dict[str, Any] = json.loads(run.to_json())
    found["forget"].pop("ids_digest", None)
    return found


@router.get("/runs")
def runs(visitor: Reader, desk: AtDesk) -> list[str]:
    """List the runs, the newest first."""
    return desk.shelf.names()


@router.get("/runs/{name}")
def run(name: Name, visitor: Reader, desk: AtDesk) -> dict[str, Any]:
    """Return a finished run's audit.json as an object, without the digest of the ids."""
    return _audit(desk.shelf.run(name))


@router.get("/runs/{name}/report", response_class=FileResponse)
def report(name: Name, visitor: Reader, desk: AtDesk) -> FileResponse:
    """Hand out a finished run's report, one HTML file that shows no image."""
    return _runs.report(name, visitor, desk)


@router.get("/runs/{name}/map")
def points(name: Name, visitor: Reader, desk: AtDesk) -> dict[str, Any]:
    """Return the feature map: ``points[model][part]`` is a list of pairs."""
    return feature_map(desk.shelf.run(name, arrays=True))


@router.get(
    "/runs/{name}/progress",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}, 503: {"model": Fault}},
)
async def progress(name: Name, request: Request, visitor: Reader, desk: AtDesk) -> _progress.Stream:
    """Tell what a run does as server-sent events, until it is finished."""
    return await _progress.progress(name, request, visitor, desk)


@router.get("/runs/{name}/certificate", response_class=Response, responses=A_FILE)
def certificate(name: Name, visitor: Reader, desk: AtDesk) -> Response:
    """Hand out a run's certificate, as ``unsee verify`` reads it."""
    return _certificates.download(name, visitor, desk)


@router.post("/runs/{name}/certificate", status_code=201, response_class=Response, responses=A_FILE)
def certify(name: Name, visitor: Decider, desk: AtDesk) -> Response:
    """Sign what a finished run did and measured, and hand the certificate out."""
    desk.certify(name, visitor)
    answer = _certificates.download(name, visitor, desk)
    answer.status_code = 201
    return answer


@router.post("/certificates")
def verify(signed: Signed, visitor: Reader, desk: AtDesk) -> Verified:
    """Verify a certificate; one that fails is an answer, too."""
    content = signed.certificate.encode()
    return Verified.model_validate(_certificates.verified(desk, content, signed.key))


@router.get("/compare")
def compare(visitor: Reader, desk: AtDesk, run: Names) -> list[Beside]:
    """Put runs side by side: what each measured, and how it differs from the first."""
    names = [*dict.fromkeys(run)]
    if len(names) < 2:
        raise RunError(f"Expected two runs to compare, got {len(names)}")
    found = [desk.shelf.run(name, arrays=True) for name in names]
    return [
        Beside(
            run=each.name,
            audit=_audit(each.run),
            why=each.why,
            differences=[
                Difference(name=d.name, how=d.how, **asdict(d.measured)) for d in each.differences
            ],
        )
        for each in beside(found, names)
    ]


@router.get("/models")
def models(visitor: Reader, desk: AtDesk) -> list[Version]:
    """List the models: which is in use, and which came from which."""
    return [version(model) for model in desk.ledger.models()]

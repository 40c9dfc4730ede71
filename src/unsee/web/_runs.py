"""The pages of runs: all of them, one to explore, two side by side, and their reports."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse

from unsee.errors import RunError
from unsee.folder import CERTIFICATE
from unsee.reporting import compare, result
from unsee.web._doors import REPORT_POLICY
from unsee.web._explorer import feature_map
from unsee.web._template import page
from unsee.web._visitors import AtDesk, Reader

router = APIRouter()
ALONE = {"content-security-policy": REPORT_POLICY}
Names = Annotated[Sequence[str], Query(max_length=8)]


@router.get("/runs", response_class=HTMLResponse)
def runs(request: Request, visitor: Reader, desk: AtDesk) -> str:
    """Show all runs."""
    names = desk.shelf.names()
    rows = [(name, desk.shelf.finished(name), desk.shelf.last_event(name)) for name in names[:200]]
    return page("runs.html.jinja", request, visitor, rows=rows, total=len(names))


@router.get("/runs/{name}", response_class=HTMLResponse)
def run(name: str, request: Request, visitor: Reader, desk: AtDesk) -> str:
    """Show one run: progress while it works, then its verdict and its feature map."""
    done = desk.shelf.run(name) if desk.shelf.finished(name) else None
    certified = (desk.shelf.folder(name) / CERTIFICATE).is_file()
    return page(
        "run.html.jinja",
        request,
        visitor,
        name=name,
        run=done,
        result=result(done) if done else None,
        certified=certified,
        purged=desk.shelf.purged(name),
        signs=desk.key is not None,
    )


@router.get("/runs/{name}/report")
def report(name: str, visitor: Reader, desk: AtDesk) -> FileResponse:
    """Hand out a run's report, which brings its own style and runs nothing, and shows no image.

    Reports are the largest of all answers: who does not read holds a piece of one, not all of it.
    """
    return FileResponse(desk.shelf.report(name), media_type="text/html", headers=ALONE)


@router.get("/runs/{name}/map")
def points(name: str, visitor: Reader, desk: AtDesk) -> dict[str, Any]:
    """Hand out the feature map as numbers."""
    return feature_map(desk.shelf.run(name, arrays=True))


@router.get("/compare", response_class=HTMLResponse)
def beside(visitor: Reader, desk: AtDesk, run: Names = ()) -> HTMLResponse:
    """Put runs side by side."""
    names = [*dict.fromkeys(run)]
    if len(names) < 2:
        raise RunError(f"Expected two runs to compare, got {len(names)}: go back and tick them")
    found = [desk.shelf.run(name, arrays=True) for name in names]
    return HTMLResponse(compare(found, names), headers=ALONE)


@router.get("/models", response_class=HTMLResponse)
def models(request: Request, visitor: Reader, desk: AtDesk) -> str:
    """Show every version of every model, and which came from which."""
    return page("models.html.jinja", request, visitor, lines=desk.families())

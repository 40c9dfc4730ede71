"""Certificates: made of a finished run, handed out, and verified."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from unsee.errors import CertificateError
from unsee.folder import CERTIFICATE
from unsee.web._desk import Desk
from unsee.web._shelf import NotFound
from unsee.web._template import page
from unsee.web._visitors import AtDesk, Decider, Reader

router = APIRouter()
Pem = Annotated[str, Form(max_length=2000)]


@router.get("/certificates", response_class=HTMLResponse)
def certificates(request: Request, visitor: Reader, desk: AtDesk) -> str:
    """Ask for a certificate to verify."""
    return page("certificates.html.jinja", request, visitor, found=None, own=desk.key is not None)


@router.post("/certificates", response_class=HTMLResponse)
def verify(
    request: Request,
    visitor: Reader,
    desk: AtDesk,
    certificate: Annotated[UploadFile, File()],
    key: Pem = "",
) -> str:
    """Verify an uploaded certificate; its name is not looked at."""
    found = verified(desk, certificate.file.read(), key)
    return page("certificates.html.jinja", request, visitor, found=found, own=desk.key is not None)


def verified(desk: Desk, content: bytes, key: str) -> dict[str, object]:
    """Say whether a certificate passes, and what it says; or which check failed.

    Args:
        desk: with the key by which this server signs, if it has one.
        content: of the certificate.
        key: a public key in PEM; empty: this server's own, or none.

    """
    from unsee.certificate import checked, parsed

    public = parsed(key.encode(), "the form") if key.strip() else desk.public_key()
    try:
        passed = checked(content, public)
    except CertificateError as error:
        return {"passed": False, "check": error.check, "why": str(error)}
    return {
        "passed": True,
        "trusted": passed.trusted,
        "own": passed.trusted and not key.strip(),
        "keyid": passed.keyid,
        "predicate": passed.predicate,
        "subjects": passed.statement["subject"],
    }


@router.get("/runs/{name}/certificate")
def download(name: str, visitor: Reader, desk: AtDesk) -> Response:
    """Hand out a run's certificate."""
    file = desk.shelf.folder(name) / CERTIFICATE
    if not file.is_file():
        raise NotFound(f"Expected a certified run, got {name}, which has no certificate yet")
    told = {"content-disposition": f'attachment; filename="{name}-{CERTIFICATE}"'}
    return Response(file.read_bytes(), media_type="application/json", headers=told)


@router.post("/runs/{name}/certify")
def certify(name: str, visitor: Decider, desk: AtDesk) -> Response:
    """Sign what a finished run did and measured."""
    desk.certify(name, visitor)
    return RedirectResponse(f"/runs/{name}", 303)

"""Templates that escape every word they are given."""

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from unsee.reporting._style import printable
from unsee.web._access import Visitor


@cache
def _environment() -> Environment:
    here = files("unsee.web").joinpath("templates")
    return Environment(
        loader=FunctionLoader(lambda file: here.joinpath(file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda x: x if isinstance(x, Markup) or callable(x) else printable(x),
    )


def page(template: str, request: Request, visitor: Visitor | None = None, /, **facts: Any) -> str:
    """Return a page or a part of one; ``visitor`` decides which ways on it shows."""
    found = _environment().get_template(template)
    return found.render(visitor=visitor, here=request.url.path, **facts)

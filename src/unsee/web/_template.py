"""Templates that escape every word they are given."""

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from jinja2 import Environment

from unsee.reporting._template import environment
from unsee.web._access import Visitor


@cache
def _ours() -> Environment:
    return environment(files("unsee.web").joinpath("templates"))


def page(template: str, request: Request, visitor: Visitor | None = None, /, **facts: Any) -> str:
    """Return a page or a part of one; ``visitor`` decides which ways on it shows."""
    found = _ours().get_template(template)
    return found.render(visitor=visitor, here=request.url.path, **facts)

"""Templates that escape every word they are given, and the drawings that need no escaping."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from unsee.reporting._style import printable
from unsee.reporting._svg import Picture


def environment(here: Traversable) -> Environment:
    """Return what reads the templates of a folder and lets no word through as it came."""
    return Environment(
        loader=FunctionLoader(lambda file: here.joinpath(file).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda x: x if isinstance(x, Markup) or callable(x) else printable(x),
    )


@cache
def template(name: str) -> Template:
    """Return a template of this folder."""
    here = files("unsee.reporting")
    ours = environment(here)
    ours.filters["svg"] = _svg
    css = here.joinpath("page.css").read_text(encoding="utf-8")
    ours.globals["css"] = Markup(css)  # our own file, not data
    return ours.get_template(name)


def _svg(picture: Picture) -> Markup:
    """Return a drawing as it is: Sheet has escaped every word in it."""
    return Markup(picture.svg)

"""What the code has, the documentation names; what the documentation names is there."""

import re
from pathlib import Path

import pytest

from unsee.audits import AUDITS
from unsee.data import SOURCES
from unsee.data._rules import RULES
from unsee.methods import METHODS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FORMS = {page.stem: page.read_text() for page in (ROOT / "docs" / "methods").glob("*.md")}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_has_a_form_that_names_its_options(method):
    form = FORMS.get(method.name, FORMS["controls"])
    assert method.name in form
    missing = [option for option in method.options if f"`{option}`" not in form]
    assert not missing, f"docs/methods/{method.name}.md does not name {missing}"


@pytest.mark.parametrize("audit", AUDITS.values(), ids=AUDITS)
def test_every_measurement_is_defined(audit):
    text = (ROOT / "docs" / "audits.md").read_text()
    assert not [name for name in audit.names if f"`{name}`" not in text]


def test_the_readme_names_every_source_rule_and_method():
    text = (ROOT / "README.md").read_text()
    assert not [name for name in SOURCES if f"`{name}" not in text]
    assert not [name for name in RULES if f"`{name}=" not in text]
    assert not [name for name in METHODS if f"`{name}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_shows_the_figures_that_were_measured():
    text, figures = (ROOT / name for name in ("README.md", "docs/evidence/readme.md"))
    assert figures.read_text() in text.read_text(), "make verify, then copy docs/evidence/readme.md"

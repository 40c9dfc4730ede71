"""The page in a real browser, narrow and wide, light and dark."""

import shutil

import pytest
from runs import bare, example, with_classes

from unsee.reporting import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LONG = "a_very_long_class_name_without_any_place_to_break_it_" * 5
RUNS = {
    "full": example(),
    "bare": bare(),
    "long names": with_classes(example(notes=(LONG,), method=LONG), (LONG, "b", "c"), gone=[LONG]),
}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive it")
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the PATH")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open the report of a run; collect what it asks for and complains of."""
    opened = []

    def visit(run, width, scheme="light"):
        file = report(run, tmp_path / "report.html")
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.append(tab)
        tab.asked, tab.said = [], []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.goto(file.as_uri())
        return tab

    yield visit
    for tab in opened:
        tab.close()


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_nothing_is_wider_than_the_window_nothing_is_asked_for_nothing_fails(visit, run, width):
    tab = visit(run, width)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    inside, window = tab.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inside <= window == width
    assert [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in tab.asked if url.startswith("file:")]) == 1
    assert tab.said == []


def test_the_browser_sees_an_overflow_and_a_refused_request_where_there_are_some(visit):
    tab = visit(example(), 400)
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<hr style=width:900px>')")
    assert tab.evaluate("document.documentElement.scrollWidth") > 400
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=other.png>')")
    tab.wait_for_timeout(200)
    assert any("Content Security Policy" in said for said in tab.said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page_in_both_schemes(visit, scheme):
    tab = visit(example(), 1600, scheme)
    colours = tab.evaluate(
        """() => ['body', 'h1', '.label', '.note', 'figcaption', 'svg text', 'summary', '.about']
        .map(s => { const e = document.querySelector(s); const c = getComputedStyle(e);
          return [s, s == 'svg text' ? c.fill : c.color]; })
        .concat([['page', getComputedStyle(document.body).backgroundColor]])"""
    )
    found = {name: luminance(colour) for name, colour in colours}
    page = found.pop("page")
    assert (page < 0.1) == (scheme == "dark")
    for name, value in found.items():
        contrast = (max(value, page) + 0.05) / (min(value, page) + 0.05)
        assert contrast >= 4.5, f"{name}: {contrast:.1f}"


def test_words_in_drawings_are_at_least_eight_pixels_high_on_a_phone(visit):
    tab = visit(example(), 400)
    sizes = tab.evaluate(
        """() => [...document.querySelectorAll('svg text')].map(t =>
        parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)"""
    )
    visible = [size for size in sizes if size > 0]
    assert len(visible) > 100 and min(visible) >= 8


def test_the_order_of_headings_skips_no_level(visit):
    tab = visit(example(), 1600)
    levels = tab.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def luminance(colour):
    """Return the relative luminance (WCAG 2) of ``rgb(r, g, b)``."""
    red, green, blue = (float(x) / 255 for x in colour.strip("rgba()").split(",")[:3])
    linear = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (red, green, blue)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

"""The page in a real browser, narrow and wide, light and dark."""

import dataclasses
import functools
import shutil

import pytest
from runs import bare, example, large, verdict, with_classes

from unsee.reporting import compare, page, redacted

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LONG = "a_very_long_class_name_without_any_place_to_break_it_" * 5
HOSTILE = ("<script>alert(1)</script>", "\u202etxt.exe", "<img src=x onerror=alert(2)>")
RUNS = {
    "full": example(),
    "large": large(),
    "hostile": with_classes(example(notes=HOSTILE, method=HOSTILE[0]), HOSTILE, gone=HOSTILE[:1]),
    "redacted": redacted(example()),
    "bare": bare(),
    "long names": with_classes(example(notes=(LONG,), method=LONG), (LONG, "b", "c"), gone=[LONG]),
}


@functools.cache
def made(name):
    return page(RUNS[name])


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
    """Open a page; collect what it asks for and complains of."""
    opened = []

    def visit(text, width, scheme="light"):
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
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


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_wider_than_the_window_nothing_is_asked_for_nothing_fails(visit, name, width):
    fits(visit(made(name), width), width)


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_a_comparison_fits_asks_for_nothing_and_fails_at_nothing(visit, width):
    runs = [example(), example(gone=False), bare(), RUNS["long names"], RUNS["hostile"]]
    fits(visit(compare(runs, ["a", LONG, *HOSTILE]), width), width)


def fits(tab, width):
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    inside, window = tab.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inside <= window == width
    assert [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in tab.asked if url.startswith("file:")]) == 1
    assert tab.said == []


def test_the_browser_sees_an_overflow_and_a_refused_request_where_there_are_some(visit):
    tab = visit(made("full"), 400)
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<hr style=width:900px>')")
    assert tab.evaluate("document.documentElement.scrollWidth") > 400
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=other.png>')")
    tab.wait_for_timeout(200)
    assert any("Content Security Policy" in said for said in tab.said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page_in_both_schemes(visit, scheme):
    tab = visit(made("full"), 1600, scheme)
    colours = tab.evaluate(
        """() => ['body', 'h1', '.label', '.note', 'figcaption', 'svg text', 'summary', '.about',
                  '.warning', 'nav a', '.basis dt', '.audits th', '.group th', '.interval']
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("light", ["green", "amber", "red", "grey"])
def test_every_light_stands_out_from_the_page_with_a_shape(visit, light, scheme):
    run = example(arrays={})
    run = dataclasses.replace(run, verdict=verdict(run.measurements, 8, light, "cannot tell"))
    tab = visit(compare([run, run]), 1000, scheme)
    colour, page_colour, width = tab.evaluate(
        """() => { const e = document.querySelector('.label'); const s = e.querySelector('svg');
        return [getComputedStyle(e).color, getComputedStyle(e.closest('.box')).backgroundColor,
                s.getBoundingClientRect().width]; }"""
    )
    a, b = luminance(colour), luminance(page_colour)
    assert (max(a, b) + 0.05) / (min(a, b) + 0.05) >= 4.5 and width >= 12


def test_nothing_but_our_own_paper_is_printed_wider_than_the_sheet(visit):
    tab = visit(made("full"), 1000)
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins, in CSS pixels
    inside = tab.evaluate("document.documentElement.scrollWidth")
    assert inside <= 718
    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_words_in_drawings_are_at_least_eight_pixels_high_on_a_phone(visit):
    tab = visit(made("full"), 400)
    sizes = tab.evaluate(
        """() => [...document.querySelectorAll('svg text')].map(t =>
        parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)"""
    )
    visible = [size for size in sizes if size > 0]
    assert len(visible) > 100 and min(visible) >= 8


def test_the_order_of_headings_skips_no_level(visit):
    tab = visit(made("full"), 1600)
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

"""Pictures of growth: the fits are right, and what is drawn is what was measured."""

import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import growth  # noqa: E402
import growth_page as page  # noqa: E402
import performance  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def cell(seconds, mib):
    return {"seconds": seconds, "image_gradients": 9, "above_idle": mib * page.MIB}


def made(sizes=(5000, 20_000, 50_000, 200_000, 1_000_000)):
    """Return cells whose time does not grow, and whose memory grows in proportion."""
    return {f"train-{n}": cell(4.0, n / 1000) for n in sizes}


@pytest.mark.parametrize("e", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_an_exponent_is_that_of_the_law_that_made_the_numbers(e, count):
    sizes = [250.0 * 2**n for n in range(count)]
    fit = page.fitted(sizes, [3 * x**e for x in sizes])
    assert fit.exponent == pytest.approx(e) and fit.at(sizes[-1]) == pytest.approx(
        3 * sizes[-1] ** e
    )
    assert fit.sizes == tuple(sizes[{2: 0, 3: 0, 4: 2, 6: 3}[count] :])


def test_fixed_costs_weigh_little_and_too_few_sizes_have_no_exponent():
    sizes = [10.0, 100, 1000, 10_000, 100_000, 1_000_000]
    assert page.fitted(sizes, [5 + x for x in sizes]).exponent == pytest.approx(1, abs=0.001)
    assert page.fitted([10.0], [1.0]) is page.fitted([1.0, 2.0], [0.0, 1.0]) is None


def places(svg, width):
    """Return the ends in pixels of every line of that width."""
    lines = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if f"stroke-width: {width}" in path.get("style", ""):
            ends = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d"))
            lines.append([(float(x), float(y)) for x, y in ends])
    return lines


def test_a_line_has_the_slope_of_its_exponent_on_axes_that_are_logarithmic():
    svg = page.pictures(made())["growth-train.svg"].svg
    flat, steep = places(svg, page.LINE)
    assert flat[0][1] == pytest.approx(flat[1][1], abs=0.01)
    each = page.grown(page.axis_of(made(), "train"))
    across = page.scale(each[1].sizes, 0, 1)
    up = page.scale(each[1].values, 1, 0)
    share = (math.log(1_000_000 / 50_000)) / math.log(across.high / across.low)
    wide = (page.WIDTH - page.LEFT - page.RIGHT - page.GAP) / 2
    assert steep[1][0] - steep[0][0] == pytest.approx(share * wide, abs=0.01)
    rise = math.log(1_000_000 / 50_000) / math.log(up.high / up.low)
    assert steep[0][1] - steep[1][1] == pytest.approx(rise * page.SIDE, abs=0.01)


def test_every_value_is_a_mark_that_says_what_it_is():
    svg = page.pictures(made())["growth-train.svg"].svg
    titles = [x.text for x in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert len(titles) == 10
    assert titles[0] == "5,000 training images: 4 s"
    assert titles[-1] == "1,000,000 training images: 1,000 MiB"
    words = [x.text for x in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "seconds: e = 0.00" in words and "memory above idle, MiB: e = 1.00" in words


def test_values_that_cannot_be_told_from_0_are_left_out_and_nothing_is_fitted_to_them():
    found = {f"train-{n}": cell(n / 1000, 0 if n < 2000 else -1) for n in (1000, 2000, 4000)}
    picture = page.pictures(found)["growth-train.svg"]
    assert picture.alt.endswith("Seconds: e = 1.00")
    assert "none that could be told from 0" in picture.svg


def test_all_that_is_drawn_stays_inside_the_picture():
    found = {f"train-{n}": cell(y, 1e-3) for n, y in ((10, 1e-3), (1_000_000, 2e4), (3, 70.0))}
    svg = page.pictures(found)["growth-train.svg"].svg
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        for x, y in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.get("d") or ""):
            assert abs(float(x)) <= page.WIDTH and abs(float(y)) <= page.HEIGHT


def test_the_same_cells_in_another_order_are_the_same_page_and_picture():
    found = made() | {"buffer-250": cell(1, 1), "model-convnet": cell(2, 2)}
    other = dict(reversed(found.items()))
    assert page.lines(found) == page.lines(other)
    assert page.pictures(found) == page.pictures(other)
    told = "\n".join(page.lines(found))
    assert told.index("The training set") < told.index("The buffer") < told.index("The model")
    assert "](images/growth-train.svg)" in told and "growth-model" not in told
    assert "growth-buffer" not in told  # one size alone is no growth
    assert "seconds: *e* = 0.00; memory above idle: *e* = 1.00" in told


def test_every_thing_that_grows_has_its_words():
    assert page.WORDS.keys() == growth.AXES.keys()


def test_the_committed_pictures_are_those_of_the_committed_numbers():
    found = performance.measured("growth")
    drawn = {name: x.file() for name, x in page.pictures(found).items()}
    kept = {x.name: x.read_text() for x in performance.IMAGES.glob("growth-*.svg")}
    assert kept == drawn

"""What measures speed, memory and growth: the page shows the numbers, the fits are right."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from unsee.nouns import Config

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "verify"))

import cells  # noqa: E402
import growth  # noqa: E402
import memory as large  # noqa: E402
import performance  # noqa: E402
import speed  # noqa: E402

SECTIONS = {"speed": speed, "memory": large, "growth": growth}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_shows_what_was_measured(section):
    file = performance.EVIDENCE / f"{section}.json"
    lines = [f"Not measured yet: `make bench-{section}`."]
    if file.exists():
        lines = SECTIONS[section].lines(json.loads(file.read_text()))
    page = performance.PAGE.read_text()
    assert performance.with_section(page, section, lines) == page


def test_a_section_is_written_between_its_marks_alone():
    text = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    found = performance.with_section(text, "a", ["\\1 is no group"])
    assert found == "before\n<!-- a -->\n\n\\1 is no group\n\n<!-- end of a -->\nafter\n"
    with pytest.raises(SystemExit, match="Expected the marks"):
        performance.with_section(text, "b", [])


@pytest.mark.parametrize("e", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_an_exponent_is_that_of_the_law_that_made_the_numbers(e, count):
    sizes = [250.0 * 2**n for n in range(count)]
    assert growth.exponent(sizes, [3 * x**e for x in sizes]) == pytest.approx(e)


def test_fixed_costs_weigh_little_and_too_few_sizes_have_no_exponent():
    sizes = [10.0, 100, 1000, 10_000, 100_000, 1_000_000]
    assert growth.exponent(sizes, [5 + x for x in sizes]) == pytest.approx(1, abs=0.001)
    assert growth.exponent([10.0], [1.0]) is growth.exponent([1.0, 2.0], [0.0, 1.0]) is None


def test_the_bare_step_is_short_and_imports_nothing_of_ours():
    """The ceiling is one that anybody could have written: at most 20 lines, torch alone."""
    for function in (speed.bare_training, speed.bare_evaluation):
        code = function.__code__
        last = max(line for *_, line in code.co_lines() if line)
        assert last - code.co_firstlineno < 20
        ours = {"unsee", "predict", "descend", "batches", "augmented", "Data"}
        assert not ours & {*code.co_names, *code.co_varnames}


def test_each_way_says_what_it_spent():
    bench = speed.Bench(speed.CASES["digits"], tiny=True)
    for task in speed.TASKS:
        done = [bench.bare(task)(), bench.product(task)()]
        assert all(x > 0 for x in done)
        if task == "train":
            assert done == [256.0, 256.0]
        if task == "evaluate":
            assert done == [256 / 3, 256 / 3]


def test_pictures_are_those_of_the_data():
    bench = speed.Bench(speed.CASES["digits"], tiny=True)
    kept = speed.transforms.ToTensor()
    pictures = speed.Pictures(bench.data, kept)
    image, label = pictures[7]
    assert np.allclose(image, bench.placed[7]) and label == int(bench.data.labels[7])
    assert len(pictures) == 256


def test_a_set_has_the_size_and_the_class_that_were_asked_for(tmp_path):
    source = large.write_set(tmp_path, "npz", 4 * 2**20)
    with np.load(source.partition(":")[2]) as found:
        size = sum(found[f"{part}_images"].nbytes for part in ("train", "test"))
        labels = found["train_labels"]
    assert 0.98 < size / (4 * 2**20) <= 1
    assert np.bincount(labels)[0] == len(labels) // 10 and len(np.bincount(labels)) == 10


def test_fields_of_a_config_that_came_later_make_no_cell_stale():
    old = {k: v for k, v in asdict(Config()).items() if k not in dict(cells.LATER)}
    assert cells.made_by("x", asked=[Config()]) == cells.made_by("x", asked=[old])
    asked = replace(Config(), audit_retain=5)
    assert cells.made_by("x", asked=[asked]) != cells.made_by("x", asked=[old])

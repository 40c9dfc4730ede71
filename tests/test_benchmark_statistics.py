"""Tables and pictures from results that were written by hand: no model is needed."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student, ttest_rel

from unsee import benchmark
from unsee.benchmark import page_block
from unsee.benchmark._labels import placed, width_of
from unsee.benchmark._results import KEPT, Asked, picture_file, write_record
from unsee.benchmark._statistics import farther_p, mean, ranked
from unsee.benchmark._table import _cell
from unsee.cli import call
from unsee.errors import OptionError, RunError

NOWHERE = Path("g")


def measured(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half, "n": 100}


def record(method, seed, js=0.3, *, failed=None, shown="buffer", seconds=2.0, rule="class=3"):
    name = f"digits-{rule}-{method}-seed{seed}"
    cell = {"name": name, "data": "digits", "forget": rule, "method": method, "seed": seed}
    base = {"format": 1, "cell": cell, "key": "k", "failed": failed, "shown": shown}
    base |= {"recipe": f"unsee run --method {method} --seed {seed} --out runs/x"}
    if failed:
        return base
    rng = np.random.default_rng(seed)
    figures = dict.fromkeys(KEPT, measured(0.5)) | {"js_distance": measured(js)}
    others = dict.fromkeys(KEPT, measured(0.4)) | {"js_distance": None}
    return base | {
        "models": {"unlearned": figures, "retrained": others, "original": others},
        "apart": [round(float(x), 4) for x in js + 0.02 * rng.standard_normal(60)],
        "seconds": seconds,
        "image_gradients": 1000.0,
        "retain_share": 0.1,
        "reference": {"retrain": {"seconds": 9.0, "image_gradients": 5000.0}},
        "environment": {
            "device": "2 x CPU",
            "threads": "1",
            "precision": "float32",
            "torch": "2.1",
            "python": "3.11",
            "unsee": "0.1",
        },
        "budget": {"budget": 100000, "expected": 1.0, "options": {"epochs": 1}},
        "tuned": {
            "on": "class=0",
            "trials": [{"image_gradients": 900.0}, {"image_gradients": 1100.0}],
            "options": {"lr": 0.1},
        },
        "tried": 0,
    }


def some():
    """Two near methods and a far one, a control, and one that fails on one seed."""
    found = []
    for seed, off in enumerate((0.0, 0.012, -0.01)):
        found += [record("near", seed, 0.2 + off, seconds=3.0), record("far", seed, 0.5 - off)]
        found += [record("close", seed, 0.201 + off + 0.02 * (-1) ** seed, shown="all")]
        found += [record("noop", seed, 0.6, shown="forget", seconds=0.0)]
        found += [record("weak", seed, 0.1, failed="DivergenceError: no" if seed == 1 else None)]
        found += [record("never", seed, failed="SplitError: whole | classes")]
    return found


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "tried"
    for each in some():
        write_record(folder, each["cell"]["name"], each)
    return folder


def row(method, records=None):
    (rows,) = benchmark.tables(records or some()).values()
    return next(each for each in rows if each.method == method)


def test_a_mean_has_student_s_interval_over_seeds():
    values = [0.2, 0.25, 0.22, 0.31]
    found = mean(values)
    low, high = student.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.reach == pytest.approx(high - found.value)
    one = mean([0.2], (0.18, 0.26))  # of one seed: that over its images
    assert (one.low, one.high) == (0.18, 0.26) and one.reach == pytest.approx(0.06)


def test_p_over_seeds_is_that_of_a_paired_t_test():
    rng = np.random.default_rng(0)
    first = [rng.random(50) for _ in range(5)]
    second = [x + 0.02 * rng.standard_normal() + 0.01 for x in first]
    means = [[x.mean() for x in some] for some in (second, first)]
    assert farther_p(second, first) == pytest.approx(
        ttest_rel(*means, alternative="greater").pvalue
    )
    assert farther_p(second, first) + farther_p(first, second) == pytest.approx(1)
    assert farther_p(first, first) == 1.0
    more = [x + 0.1 for x in first]
    assert farther_p(first, more) == 1.0 and farther_p(more, first) == 0.0


def test_p_of_one_seed_is_that_of_a_paired_t_test_over_its_images():
    rng = np.random.default_rng(1)
    first = rng.random(200)
    noise = 0.1 * rng.standard_normal(200)
    second = first + noise - noise.mean() + 0.01
    expected = ttest_rel(second, first, alternative="greater").pvalue
    assert 0.01 < expected < 0.2
    assert farther_p([second], [first]) == pytest.approx(expected)
    assert farther_p([second[:1] + 1], [first[:1]]) == 1.0  # of one image nothing can be told
    few = np.array([0.3, 0.1])
    assert farther_p([few], [few - few / 2]) > 0.1  # nor of two much, though both are farther


def test_the_nearest_is_the_best_and_what_cannot_be_told_from_it_is_tied():
    places = {method: row(method).place for method in ("near", "close", "far", "noop", "weak")}
    assert places == {"near": "best", "close": "tied", "far": "", "noop": "", "weak": ""}
    assert row("far").p < 0.05 < row("close").p
    assert ranked({}) == {}
    assert ranked({"alone": {0: np.ones(5)}}) == {}  # nobody to be better than
    two = {name: {0: np.array([x]), 1: np.array([x + 0.1])} for name, x in (("a", 0.1), ("b", 0.9))}
    assert ranked(two) == {}  # of two seeds nothing can be told


def test_best_and_tied_hold_the_truly_nearest_with_95_percent_confidence():
    """However many methods there are, and however unlike they scatter."""
    rng, draws = np.random.default_rng(7), 200
    scatter = 10.0 ** -np.arange(8)[::-1].clip(0, 2)
    left, others = 0, 0
    for _ in range(draws):
        means = {f"m{k}": scatter[k] * rng.standard_normal(5) for k in range(8)}  # all as near
        means["far"] = 9 + rng.standard_normal(5)
        apart = {m: {s: np.array([x]) for s, x in enumerate(some)} for m, some in means.items()}
        found = ranked(apart)
        left += found["m3"][0] == ""
        others += found["far"][0] == ""
    assert left / draws <= 0.05 and others / draws > 0.9


def test_only_methods_with_all_seeds_that_were_asked_for_are_compared():
    rng = np.random.default_rng(0)

    def of(seeds, middle):
        return {seed: middle + 0.01 * rng.random(20) for seed in seeds}

    apart = {"a": of((0, 1, 2, 3), 0.1), "b": of((0, 1, 2, 4), 0.9)}
    assert ranked(apart) == {}  # neither has all five
    apart |= {"c": of(range(5), 0.3), "d": of(range(5), 0.5)}
    assert ranked(apart).keys() == {"c", "d"} and ranked(apart)["c"] == ("best", None)
    assert ranked(apart, range(6)) == {}


def asked_for(records, settings="s"):
    """What a grid of these cells would have asked for."""
    cells = [record["cell"] | {"settings": settings} for record in records]
    return Asked("All of it", tuple(cells))


def test_missing_cells_are_told_and_nothing_is_ranked_before_they_are_there():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for(records)
    (rows,) = benchmark.tables(records, asked).values()
    assert next(r for r in rows if r.method == "near").place == "best"
    fewer = [r for r in records if r["cell"]["name"] != "digits-class=3-far-seed2"]
    fewer = [r for r in fewer if r["cell"]["method"] != "close"]
    (rows,) = benchmark.tables(fewer, asked).values()
    found = {r.method: (r.n, r.seeds, r.missing) for r in rows}
    assert found["far"] == (2, 3, 1) and found["close"] == (0, 3, 3) and found["weak"] == (2, 3, 0)
    assert {r.place for r in rows} == {""}
    told = benchmark.as_markdown(fewer, asked)
    assert "| 2 of 3 |" in told and "nothing is ranked before they are: `far`, `close`" in told
    assert "nothing is ranked before they are: far, close" in benchmark.as_text(fewer, asked)
    assert ": 18 cells, of which" in page_block(NOWHERE, NOWHERE, records, asked)
    assert ": 14 of 18 cells, of which" in page_block(NOWHERE, NOWHERE, fewer, asked)


def test_a_rule_of_which_nothing_is_there_is_told():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for(
        [*records, record("near", 0, rule="random=10%"), record("far", 0, rule="random=10%")]
    )
    for text in (benchmark.as_markdown(records, asked), benchmark.as_text(records, asked)):
        assert "random=10%" in text and "None of its 2 cells is there yet." in text
    assert benchmark.as_csv(records, asked).count("random=10%") == 2
    assert len(benchmark.pareto(records, asked)) == 1


def test_a_result_that_the_grid_does_not_ask_for_stands_in_for_none_that_it_does():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for(records)
    for one in records:
        if one["cell"]["name"] == "digits-class=3-far-seed2":
            one["cell"] = one["cell"] | {"name": "digits-class=3-far-seed5", "seed": 5}
    (rows,) = benchmark.tables(records, asked).values()
    far = next(r for r in rows if r.method == "far")
    assert (far.n, far.seeds, far.missing) == (3, 4, 1) and {r.place for r in rows} == {""}
    assert far.remarks == ("1 of its cells are not the grid's",)
    assert "17 of 18 cells and 1 that the grid does not ask for" in page_block(
        NOWHERE, NOWHERE, records, asked
    )


def test_a_rule_that_the_grid_no_longer_asks_for_is_not_ranked():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for([record("near", 0, rule="class=8")])
    rows = benchmark.tables(records, asked)[("digits", "class=3")]
    assert {r.place for r in rows} == {""}
    assert next(r for r in rows if r.method == "near").remarks == (
        "3 of its cells are not the grid's",
    )


def test_a_list_of_ids_that_has_moved_is_the_same_rule(tmp_path):
    def at(rule):
        named = [one | {"settings": "s"} for one in some()]
        return [one | {"cell": one["cell"] | {"forget": rule}} for one in named]

    asked = asked_for(at("ids=b/list.txt"))
    (group,) = benchmark.tables(at("ids=a/list.txt"), asked)
    assert group == ("digits", "ids=b/list.txt")
    (picture,) = benchmark.pareto(at("ids=a/list.txt"), asked)
    (tmp_path / picture).touch()
    block = page_block(tmp_path, tmp_path / "page.md", at("ids=a/list.txt"), asked)
    assert f"]({picture})" in block


def test_what_a_run_warned_of_stands_below_the_table():
    records = some()
    for one in records:
        near = one["cell"]["method"] == "near" and one["cell"]["seed"]
        if one["cell"]["method"] != "far":  # of code that did not keep it
            one["notes"] = ["few images", *(["its copy diverges"] if near else ())]
    assert "near warned: its copy diverges" in benchmark.as_text(records)
    told = benchmark.as_markdown(records).splitlines()
    assert "* `near` warned: its copy diverges" in told
    assert "* warned: few images" in told  # of all, and once


def test_cells_of_other_settings_or_beside_other_models_are_told_and_not_ranked():
    records = [one | {"settings": "s", "digests": {"original": "a"}} for one in some()]
    asked = asked_for(records)
    for one in records:
        if one["cell"]["method"] == "near" and one["cell"]["seed"] == 1:
            one["digests"] = {"original": "b"}
        if one["cell"]["method"] == "close":
            one["settings"] = "another budget"
    (rows,) = benchmark.tables(records, asked).values()
    found = {r.method: r for r in rows}
    assert found["near"].remarks == ("measured beside other models (seeds 1)",)
    assert "3 of its cells are of other settings than the grid's" in found["close"].remarks[0]
    assert {r.place for r in rows} == {""} and "`near`: measured beside" in benchmark.as_markdown(
        records, asked
    )


def test_nothing_is_ranked_before_cells_of_other_settings_are_measured_again():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for(records)
    (rows,) = benchmark.tables(records, asked).values()
    assert {"best", "tied"} <= {r.place for r in rows}
    for one in records:
        if one["cell"]["name"] == "digits-class=3-weak-seed0":
            one["settings"] = "another budget"
    (rows,) = benchmark.tables(records, asked).values()
    assert {r.place for r in rows} == {""}


def test_who_held_test_images_out_is_told():
    records = [one | {"counts": {"test": 360}} for one in some()]
    for one in records:
        if one["cell"]["method"] == "near":
            one["counts"] = {"test": 155}
    found = row("near", records)
    assert found.place == "best" and "audited on 155 test images, others on 360" in found.remarks[0]
    assert row("retrained", records).n == 3


def test_a_figure_that_some_seeds_lack_says_of_how_many_it_is():
    records = some()
    for one in records:
        if one["cell"]["method"] == "near" and one["cell"]["seed"]:
            one["models"]["unlearned"]["relearn_recall"] = None
    (line,) = [x for x in benchmark.as_markdown(records).splitlines() if x.startswith("| `near`")]
    assert "0.500 [0.450, 0.550] (1 of 3)" in line


def test_names_do_not_change_how_a_table_looks():
    assert _cell("path=*a*_b`|<c>") == r"path=\*a\*\_b\`\|&lt;c>"
    names = {
        picture_file("digits", rule) for rule in ("class=a b", "class=a-b", "class=猫", "class=犬")
    }
    assert len(names) == 4 and all(name.isascii() for name in names)


def test_a_method_that_lost_a_seed_is_shown_and_not_ranked():
    weak = row("weak")
    assert weak.figures["js_distance"].value < row("near").figures["js_distance"].value
    assert (weak.n, weak.seeds, weak.place) == (2, 3, "")


def test_controls_and_references_are_rows_of_their_own():
    (rows,) = benchmark.tables(some()).values()
    kinds = [(each.method, each.kind) for each in rows]
    assert kinds[:3] == [
        *(("original", "reference"), ("retrained", "reference"), ("noop", "control"))
    ]
    assert [m for m, _ in kinds[3:]] == ["weak", "near", "close", "far", "never"]
    assert row("retrained").figures["seconds"].value == 9.0
    assert row("near").figures["membership_gap"].value == pytest.approx(0.1)


def test_the_markdown_says_means_failures_and_marks():
    text = benchmark.as_markdown(some())
    lines = text.splitlines()
    (near,) = [line for line in lines if line.startswith("| `near`")]
    assert near.split(" | ")[1:4] == ["**best**", "3", "0.201 ±0.027"]
    assert "| 2 of 3 |" in next(line for line in lines if line.startswith("| `weak`"))
    assert r"* `never` failed in 3 of 3: SplitError: whole \| classes" in lines
    assert len({line.replace(r"\|", "").count("|") for line in lines if line[:2] == "| "}) == 1


def test_the_csv_has_every_row_and_can_be_read_back():
    rows = [*csv.DictReader(io.StringIO(benchmark.as_csv(some())))]
    found = {each["method"]: each for each in rows}
    assert found["near"]["place"] == "best" and found["never"]["failed"] == "3"
    assert float(found["near"]["js_distance"]) == pytest.approx(0.2006, abs=1e-3)
    assert found["far"]["js_distance_n"] == "3" and found["never"]["js_distance"] == ""


def test_lines_for_a_terminal_are_short():
    long = some() + [record("a_method_with_a_long_name", n, 0.3, seconds=12345.0) for n in range(3)]
    lines = benchmark.as_text(long).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("near" in line and "best" in line for line in lines)
    assert any(line.startswith("never failed in 3 of 3") for line in lines)


def test_the_picture_shows_methods_seeds_intervals_and_failures():
    (picture,) = benchmark.pareto(some()).values()
    text = picture.file()
    assert 'viewBox="0 0 700 ' in text and "weak (1 of 3 failed)" in text
    assert "failed, not drawn: never (3 of 3)" in text
    for title in ("seconds", "image gradients"):
        assert title in text
    assert text.count("<title>near: JS") == 2  # one a panel
    colours = {c for c in ("#D55E00", "#0072B2", "#999999") if c.lower() in text.lower()}
    assert len(colours) == 3
    assert picture.rows and picture.head[0] == "method"
    assert benchmark.pareto(some()) == benchmark.pareto(some())  # to the last byte


def test_a_picture_of_a_grid_that_is_not_done_says_what_is_missing():
    records = [one | {"settings": "s"} for one in some()]
    asked = asked_for(records)
    fewer = [r for r in records if r["cell"]["name"] != "digits-class=3-far-seed2"]
    fewer = [r for r in fewer if r["cell"]["method"] != "close"]
    (picture,) = benchmark.pareto(fewer, asked).values()
    text = picture.file()
    assert "far (1 of 3 not there)" in text and "not there yet: close" in text
    assert "failed, not drawn: never (3 of 3)" in text and "Nothing is ranked." in picture.alt
    (whole,) = benchmark.pareto(records, asked).values()
    assert "not there" not in whole.file() and "Nearest: near." in whole.alt


def test_without_a_retrained_model_there_is_no_picture():
    bare = record("near", 0)
    bare["models"]["unlearned"]["js_distance"] = None
    assert benchmark.pareto([bare]) == {}


def test_labels_lie_over_no_other_label_or_mark_as_long_as_there_is_room():
    rng = np.random.default_rng(0)
    marks = [(float(x), float(y), f"method_{n}") for n, (x, y) in enumerate(rng.random((25, 2)))]
    marks = [(60 + 580 * x, 20 + 260 * y, text) for x, y, text in marks]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y, _ in marks]
    boxes = placed(marks, taken, (0, 0, 700, 300), 10)
    full = boxes + taken
    for n, a in enumerate(boxes):
        for b in full[n + 1 :]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])
    assert all(b[0] >= 0 and b[2] <= 700 and b[1] >= 0 and b[3] <= 300 for b in boxes)
    assert boxes[0][2] - boxes[0][0] == pytest.approx(width_of("method_0", 10))


def test_a_page_gets_the_block_between_its_markers_and_nothing_else(tmp_path, results, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench tried -->\nstale\n<!-- end of bench tried -->\nafter\n")
    assert call("bench", "plot", str(results)) == 0
    for _ in range(2):  # twice is the same as once
        assert call("bench", "table", str(results), "--page", str(page)) == 0
        text = page.read_text()
        assert text.startswith("before\n<!-- bench tried -->\n") and text.endswith("-->\nafter\n")
        assert "stale" not in text and text.count("**best**: the smallest") == 1
    for told in (
        "18 cells, of which 4 failed; seeds 0, 1, 2",
        "Machine: 2 x CPU, threads a cell: 1, float32",
        "at most 100,000 image gradients",
        "Tuned on class=0 with seed 0: 2 settings",
        "a search has spent 2,000 to 2,000 image gradients",
        "](tried/pareto-digits-class-3.svg)",
        f"`unsee bench run tried.toml` and `unsee bench table {results} --page {page}`",
        "unsee run --method",
    ):
        assert told in text, told
    page.write_text("no markers")
    with pytest.raises(OptionError, match="Expected one <!-- bench tried -->"):
        benchmark.into_page(page, "tried", "x")


def test_a_page_names_which_machine_measured_which_cells():
    records = [
        record(m, seed, rule=r) for r in ("class=1", "class=3") for m in "ab" for seed in (0, 1)
    ]
    results = Path("benchmarks/results/tried")
    text = benchmark.page_block(results, Path("docs/benchmarks.md"), records)
    assert text.count("Machine: ") == 1 and "Seconds compare" not in text
    for one in records:
        cell = one["cell"]
        if cell["forget"] == "class=3" or cell["seed"] == 1:
            one["environment"] = one["environment"] | {"precision": "bfloat16"}
    text = benchmark.page_block(results, Path("docs/benchmarks.md"), records)
    assert "bfloat16; torch 2.1, Python 3.11, unsee 0.1; it measured all cells that stand" in text
    assert (
        "float32; torch 2.1, Python 3.11, unsee 0.1; it measured digits, class=1, seed 0: `a`, `b`."
        in text
    )
    assert "Seconds compare within a machine alone" in text


def test_seconds_are_of_the_machine_that_measured_most():
    records = [record("near", seed, seconds=s) for seed, s in enumerate((10.0, 90.0, 12.0))]
    assert row("near", records).figures["seconds"].value == pytest.approx(112 / 3)
    records[1]["environment"] = records[1]["environment"] | {"instructions": "AVX2"}
    found = row("near", records).figures
    assert found["seconds"].value == 11 and found["seconds"].n == 2
    assert found["image_gradients"].n == found["js_distance"].n == 3
    assert "11.0 ±12.7 (2 of 3)" in benchmark.as_markdown(records)


def test_the_command_line_prints_tables_pictures_and_recipes(results, tmp_path, capsys):
    assert call("bench", "table", str(results)) == 0
    assert "near" in capsys.readouterr().out
    assert call("bench", "table", str(results), "--format", "csv", "--out", f"{tmp_path}/a") == 0
    assert (tmp_path / "a").read_text().startswith("data,forget,method")
    assert call("bench", "plot", str(results)) == 0
    (drawn,) = results.glob("*.svg")
    assert drawn.name == "pareto-digits-class-3.svg"
    capsys.readouterr()
    assert call("bench", "recipe", str(results), "digits-class=3-near-seed1") == 0
    line = "OMP_NUM_THREADS=1 unsee run --method near --seed 1 --out runs/x\n"
    assert capsys.readouterr().out == line
    assert call("bench", "recipe", str(results), "other") == 2
    assert call("bench", "table", str(results), "--page", "x", "--format", "csv") == 2
    assert call("bench", "table", str(results), "--format", "xml") == 2


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(RunError, match="got none: unsee bench run"):
        benchmark.read_results(tmp_path)
    for text in ("{", "[]", json.dumps({"format": 9, "cell": {}}), json.dumps({"format": 1})):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(RunError, match=r"Expected a result of unsee bench in .*x\.json"):
            benchmark.read_record(tmp_path / "x.json")
    assert benchmark.read_record(tmp_path / "none.json") is None

"""Runs side by side: where the images are the same each is compared with itself."""

import dataclasses
import html
import re

import numpy as np
import pytest
from runs import bare, example
from scipy import stats

from unsee.cli import call
from unsee.errors import OptionError
from unsee.folder import pack_arrays
from unsee.nouns import Measurement
from unsee.reporting import beside, compare, redacted
from unsee.reporting._paired import (
    differences,
    paired_aucs,
    paired_means,
    paired_shares,
    same_images,
)


def other(**changes):
    """A second run on the same images, with other answers."""
    run = example(method="finetune", **changes)
    rng = np.random.default_rng(9)
    arrays = dict(run.arrays)
    for part in ("forget", "retain", "test", "unseen"):
        right = arrays[f"unlearned/{part}/right"]
        arrays[f"unlearned/{part}/right"] = right ^ (rng.random(len(right)) < 0.3)
        if part in ("forget", "unseen"):
            loss = arrays[f"unlearned/{part}/loss"]
            arrays[f"unlearned/{part}/loss"] = loss * rng.uniform(0.2, 1.1, len(loss))
    return dataclasses.replace(run, arrays=arrays)


def words(text):
    plain = re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(plain).replace("\u00a0", " ").split())


def test_a_difference_of_shares_is_that_of_agresti_and_min_by_hand():
    first = np.array([1] * 40 + [0] * 10 + [1] * 3 + [0] * 7, bool)
    second = np.array([1] * 40 + [1] * 10 + [0] * 3 + [0] * 7, bool)
    found = paired_shares(first, second)
    cells = np.array([40, 10, 3, 7]) + 0.5  # both, gained, lost, neither
    p = cells / cells.sum()
    spread = np.sqrt((p[1] + p[2] - (p[1] - p[2]) ** 2) / cells.sum())
    middle, z = p[1] - p[2], stats.norm.ppf(0.975)
    assert found.value == pytest.approx(7 / 60) and found.n == 60
    assert (found.low, found.high) == pytest.approx((middle - z * spread, middle + z * spread))


def test_two_models_that_agree_on_every_image_still_have_an_interval():
    same = np.ones(200, bool)
    found = paired_shares(same, same)
    assert found.value == 0 and -0.02 < found.low < 0 < found.high < 0.02


def test_the_interval_of_paired_shares_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(600):
        draws = rng.choice(4, 150, p=(0.7, 0.12, 0.05, 0.13))  # both, gained, lost, neither
        found = paired_shares(np.isin(draws, (0, 2)), np.isin(draws, (0, 1)))
        hits += found.low <= 0.07 <= found.high
    assert stats.binomtest(hits, 600, 0.95).pvalue > 0.001


def test_a_difference_of_means_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(2)
    first = rng.exponential(1, 80)
    second = first + rng.normal(0.2, 0.5, 80)
    found = paired_means(first, second)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx((second - first).mean())


def test_a_difference_of_aucs_is_delongs_from_every_pair_of_images():
    rng = np.random.default_rng(3)
    forget, unseen = rng.normal(0, 1, 30).round(1), rng.normal(0.5, 1, 25).round(1)
    forget2, unseen2 = forget + rng.normal(0, 0.4, 30), unseen + rng.normal(0, 0.4, 25)

    def pairs(low, high):
        return np.array([[(a < b) + (a == b) / 2 for b in high] for a in low])

    one, two = pairs(forget, unseen), pairs(forget2, unseen2)
    for_forget, for_unseen = (np.cov(one.mean(k), two.mean(k)) for k in (1, 0))
    s = for_forget / 30 + for_unseen / 25
    half = stats.norm.ppf(0.975) * np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    found = paired_aucs(forget, unseen, forget2, unseen2)
    assert found.value == pytest.approx(two.mean() - one.mean())
    assert found.high - found.value == pytest.approx(half)
    greater = stats.mannwhitneyu(unseen, forget).statistic / (30 * 25)
    assert one.mean() == pytest.approx(greater)


def test_the_same_images_are_compared_one_by_one():
    first, second = example(), other()
    found = {d.name: d.measured for d in differences(first, second)}
    assert found.keys() == {
        *("forget_accuracy", "retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
        *("forget_loss", "membership_auc"),
    }
    rights = [run.arrays["unlearned/retain/right"].mean() for run in (first, second)]
    assert found["retain_accuracy"].value == pytest.approx(rights[1] - rights[0])
    assert found["retain_accuracy"].high < 0  # a third of the answers are turned round
    forward, back = differences(first, second), differences(second, first)
    for a, b in zip(forward, back, strict=True):
        assert a.measured.value == pytest.approx(-b.measured.value)
        assert a.measured.low == pytest.approx(-b.measured.high)


def test_losses_that_are_not_finite_are_left_out_of_both():
    first, second = example(), other()
    second.arrays["unlearned/forget/loss"][:5] = np.inf
    (loss,) = (d for d in differences(first, second) if d.name == "forget_loss")
    assert loss.measured.n == 195


@pytest.mark.parametrize(
    "change, why",
    [
        ({"data": example().data | {"fingerprint": "0" * 64}}, "the data differ"),
        ({"forget": example().forget | {"ids_digest": "0" * 64}}, "to be forgotten"),
        ({"data": {}}, "not recorded"),
    ],
)
def test_other_images_are_said_so_and_nothing_is_paired(change, why):
    first, second = example(), other(**change)
    assert why in same_images(first, second) and differences(first, second) == []
    text = words(compare([first, second]))
    assert "Nothing is paired" in text and why in text and "excludes 0" not in text
    assert "asked about the same images" not in text


def test_what_was_not_kept_image_by_image_is_not_paired():
    first, second = example(), other(retrained=False)
    assert {d.name for d in differences(first, redacted(second))} == {
        *("retain_accuracy", "test_accuracy", "forgotten_test_accuracy"),
    }
    second = dataclasses.replace(second, arrays={})
    assert "not kept" in beside([first, second])[1].why


def test_the_page_shows_verdicts_measurements_and_differences():
    first, second = example(), other(values={"forget_accuracy": 0.25})
    text = compare([first, second, bare()], ["a<script>", "b", "c"])
    said = words(text)
    assert "<script" not in text and "a<script>" in said
    assert text.count('class="label good"') == 2 and "finetune" in said
    assert text.count("verdict light: green") == 2
    assert "original (a<script>)" in said and "25.0 %" in said and "21.0 to 29.0 %" in said
    assert "paired, Agresti and Min" in said and "for one seed of each run" in said
    assert "default-src 'none'" in text and "http" not in text.replace("http-equiv", "")


def test_runs_are_called_by_their_place_where_nobody_names_them():
    assert [b.name for b in beside([example(), other()])] == ["run 1", "run 2"]


@pytest.fixture
def folders(tmp_path):
    made = []
    for name, run in (("noop", example()), ("finetune", other())):
        place = tmp_path / name
        place.mkdir()
        (place / "audit.json").write_text(run.to_json())
        (place / "arrays.npz").write_bytes(pack_arrays(run.arrays))
        made.append(str(place))
    return made


def test_the_verb_prints_80_columns_and_writes_a_page_if_asked(folders, tmp_path, capsys):
    out = tmp_path / "both.html"
    assert call("compare", *folders, "--out", str(out)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, (line for line in printed if str(tmp_path) not in line))) <= 80
    text = "\n".join(printed)
    assert "finetune less noop, image by image" in text and printed[-1] == str(out)
    (row,) = (line for line in printed if line.startswith("  retain_accuracy"))
    expected = differences(example(), other())[1].measured
    assert f"{expected.value:+.4f}  {expected.low:+.4f} to {expected.high:+.4f}" in row
    assert row.endswith("*")
    assert "noop" in words(out.read_text())
    assert call("compare", *folders, "--out", str(out)) == 2
    assert call("compare", *folders, "--out", str(out), "--force") == 0


def test_many_runs_wrap_instead_of_growing_wider(folders, capsys):
    assert call("compare", *(folders * 3)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("retain_accuracy") for line in lines) == 3
    assert any("3:noop" in line for line in lines)


def test_one_run_or_a_folder_without_a_run_is_refused(folders, tmp_path, capsys):
    assert call("compare", folders[0]) == 2
    assert "two or more" in capsys.readouterr().err
    assert call("compare", folders[0], str(tmp_path)) == 2
    assert "finished run" in capsys.readouterr().err


def test_a_notebook_shows_light_sentence_and_main_measurements_escaped():
    run = example(arrays={}, method="<script>x</script>")
    run.measurements["unlearned"]["forget_accuracy"] = Measurement(0.123, 0.1, 0.15, 9)
    run = dataclasses.replace(run, verdict=run.verdict | {"sentence": "<b>so</b>"})
    shown = run._repr_html_()
    assert "<script" not in shown and "<b>so" not in shown and "&lt;b&gt;so" in shown
    assert "● green: like retrained" in shown and "0.123" in shown and "0.100 to 0.150" in shown
    assert "<img" not in shown and "src" not in shown
    assert "<table>" in bare()._repr_html_()


@pytest.mark.parametrize(
    "runs, names, told",
    [
        (example(), example(), "got one run"),
        ([example()], (), "got 1 of them"),
        ([example(), example()], ("a",), "a name for each of 2 runs, got 1"),
    ],
    ids=["bare", "alone", "names"],
)
def test_what_is_no_list_of_runs_is_refused(runs, names, told):
    with pytest.raises(OptionError, match=told):
        compare(runs, names)

"""The first screen says what the verdict says, in words and shapes, and what it rests on."""

import dataclasses
import html
import re

import numpy as np
import pytest
from runs import MARGINS, bare, example, measured, verdict

from unsee.reporting import Pictures, page, redacted
from unsee.reporting._classes import accuracies
from unsee.reporting._strip import band, panels
from unsee.reporting._tables import references, settings
from unsee.reporting._verdict import HEAD, light
from unsee.reporting._words import result

LIGHTS = {"green": "good", "amber": "warn", "red": "bad", "grey": "open"}


def shown(run):
    """The page without its pictures, which take long to draw."""
    singles = ("strip", "classes", "answers", "evidence", "moved", "stages", "losses")
    nothing = dict.fromkeys((*singles, "confidences", "roc", "relearning", "exposure"))
    lists = ("panels", "flows", "maps", "answer_maps", "plane")
    return page(run, Pictures(**nothing, **{name: [] for name in lists}))


def words(text):
    plain = re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(plain).replace("\u00a0", " ").split())


def judged(colour, kind, *, k=8, **changes):
    run = example(arrays={}, **changes)
    return dataclasses.replace(run, verdict=verdict(run.measurements, k, colour, kind))


@pytest.mark.parametrize("colour, tone", LIGHTS.items())
def test_a_light_is_told_by_its_word_and_its_shape_too(colour, tone):
    run = judged(colour, "damaged")
    said, top = result(run), light(run)
    assert said.tone == tone and said.label == top.label == f"{colour.capitalize()}: damaged"
    others = {str(light(judged(other, "damaged")).shape) for other in LIGHTS if other != colour}
    assert str(top.shape) not in others and f"verdict light: {colour}" in top.shape
    assert f'class="label {tone}"' in shown(run) and top.label in words(shown(run))


def test_the_label_comes_from_the_verdict_and_from_nothing_else():
    run = judged("red", "damaged")  # by its measurements it is close to the retrained model
    assert result(dataclasses.replace(run, verdict={})).tone == "good"
    text = words(shown(run))
    assert "Red: damaged" in text and "close to the retrained model" not in text
    assert "lower lr" in text  # what to do about that kind


def test_sentence_and_reasons_come_first_and_are_escaped():
    run = judged("amber", "shallow")
    changed = {"sentence": "<b>One</b> sentence.", "reasons": ["<i>a</i>", "x\u202ey"]}
    run = dataclasses.replace(run, verdict=run.verdict | changed)
    text = shown(run)
    assert "<h1>&lt;b&gt;One&lt;/b&gt; sentence.</h1>" in text
    assert "&lt;i&gt;a&lt;/i&gt;" in text and "\u202e" not in text
    assert text.index("<h1>") < text.index("Asked to forget")


def test_the_first_screen_says_what_the_verdict_rests_on_and_what_was_not_tested():
    text = words(shown(example(arrays={})))
    first = text[: text.index("The rest is for engineers")]
    assert "8 retrained models" in first and "“default”" in first and "a" * 16 in first
    assert "a" * 64 not in first and "a" * 64 in text
    assert "Could not have told the original from a retrained model: Retain accuracy" in first
    assert "KLoM needs 16 models, got 8." in first
    assert "Empirical only" in first and "Anything about the law" in first


def test_retraining_as_a_method_is_called_exact_and_nothing_else_is():
    exact = dict(light(example(method="retrain")).basis)["Kind of evidence"]
    assert exact.startswith("Exact") and "Empirical" not in exact
    assert dict(light(example()).basis)["Kind of evidence"].startswith("Empirical only")


def test_the_table_has_the_audits_of_the_verdict_in_reading_order():
    rows = light(example()).audits
    assert [row[0] for row in rows] == [
        *("Forget accuracy", "Retain accuracy", "Test accuracy", "Forgotten test accuracy"),
        *("Membership AUC", "Few-shot recall"),
    ]
    assert all(len(row) == len(HEAD) for row in rows)
    by_name = {row[0]: [cell.replace("\u00a0", " ") for cell in row] for row in rows}
    assert by_name["Membership AUC"][1:5] == ["0.510", "0.500", "0.450 to 0.550", "0.030"]
    assert by_name["Few-shot recall"][1:] == [
        *(
            "42.0 %",
            "40.0 %",
            "33.0 % to 47.0 %",
            "5.0 points",
            "90.0 %",
            "yes",
            "○ inside the band",
        )
    ]
    assert by_name["Retain accuracy"][3] == "at least 93.0 %"  # a rise is no fault
    assert by_name["Forget accuracy"][3] == "at most 4.0 %"
    assert by_name["Retain accuracy"][6] == "no"


def test_states_and_missing_bands_are_said():
    run = judged("red", "still remembers", values={"few_shot_recall": 0.9, "forget_accuracy": 0.5})
    states = {row[0]: row[-1] for row in light(run).audits}
    assert states["Few-shot recall"] == "▲ above the band"
    assert states["Retain accuracy"] == "○ inside the band"
    one = judged("amber", "one reference", k=1)
    assert {row[3] for row in light(one).audits} == {"–"}
    assert {row[-1] for row in light(one).audits} == {"? not known"}
    assert "1 retrained model," in dict(light(one).basis)["Rests on"]
    assert "No band to hold against" in dict(light(one).basis)["Not tested"]


def test_an_audit_that_was_not_asked_is_named():
    run = example(gone=False)
    assert "Not asked: Few-shot recall." in words(shown(run))


def test_a_run_that_was_not_judged_keeps_the_words_of_its_measurements():
    for run in (bare(), example(verdict={})):
        assert light(run) is None
        assert "The audits that the verdict rests on" not in shown(run)


def test_the_band_of_the_verdict_is_drawn_with_its_ends_and_every_retrained_model():
    run = example(arrays={})
    drawn = {picture.name: picture.svg for _, picture in panels(run)}
    bare_of = {
        "verdict": panels(dataclasses.replace(run, verdict={})),
        "references": panels(dataclasses.replace(run, references={})),
    }
    for what, others in bare_of.items():
        other = {picture.name: picture.svg for _, picture in others}
        assert other["panel-membership_auc"] != drawn["panel-membership_auc"], what
        ends = [svg["panel-membership_auc"].count("stroke-dasharray") for svg in (other, drawn)]
        assert ends == ([1, 3] if what == "verdict" else [3, 3])  # chance is dashed, too
    assert band(run, "membership_auc") == pytest.approx((0.45, 0.55))
    assert band(run, "retain_accuracy")[1] == np.inf and band(run, "probe_recall") is None


def test_the_seed_to_seed_band_of_every_audit_stands_in_the_details():
    run = example(arrays={})
    rows = {row[-1]: row for row in references(run)}
    assert rows.keys() == run.references.keys()
    values = run.references["membership_auc"]
    expected = (np.mean(values), min(values), max(values), np.std(values, ddof=1))
    assert rows["membership_auc"][1:-1] == tuple(f"{x:.3f}" for x in expected)
    assert "Seed-to-seed band of every audit" in shown(run)
    few = dataclasses.replace(run, references={"membership_auc": [0.5, None]})
    assert references(few) == []


def test_measurements_stand_in_groups_under_headings():
    text = words(shown(example(arrays={})))
    table = text[text.index("All measurements Measurement") :]
    groups = ("Membership", "Representation", "Relearning", "Evidence in the maps")
    places = [table.index(f" {group} ") for group in groups]
    assert places == sorted(places)
    assert "dog" in table[table.index("Worst class") :][:400]  # named in its cell


def test_redaction_leaves_the_verdict_as_it_is():
    run = example()
    assert light(redacted(run)) == light(run)


def test_margins_of_the_policy_are_written_below():
    text = words(shown(example(arrays={})))
    assert all(f"{name} {margin:g}" in text for name, margin in MARGINS.items())


def test_few_images_are_warned_of_only_for_classes():
    run = example(arrays={})
    run.measurements["unlearned"]["membership_auc/learned"] = measured(0.5, n=3)
    assert "fewer than 30" not in accuracies(run).warning
    run.measurements["unlearned"]["test_accuracy/dog"] = measured(0.5, n=3)
    run.measurements["original"].pop("test_accuracy/dog")
    run.measurements["retrained"].pop("test_accuracy/dog")
    assert "fewer than 30" in accuracies(run).warning


def test_what_was_watched_and_tried_stands_among_the_settings():
    assert "Guard" not in dict(settings(example(arrays={})))
    guard = {"allowed": 0.1, "images": 500, "before": 0.984, "after": 0.976, "on_the_way": []}
    trial = {"options": {"lr": 0.01}, "short": {}, "image_gradients": 700.0, "stopped": None}
    trials = [trial | {"score": 3.0}, trial | {"score": None}, trial | {"score": 1.0}]
    tuning = {"trials": trials, "chosen": 2, "images": {"forget": 200, "validation": 1500}}
    facts = dict(settings(example(arrays={}, guard=guard, tuning=tuning)))
    assert "500 images that stay 0.984 before and 0.976 after" in facts["Guard"]
    told = "lr=0.01: the best of 3 settings, 1 of which did harm, by 1,500 validation images"
    assert facts["Tuned"].startswith(told) and "2,100 image gradients" in facts["Tuned"]
    kept = dict(settings(example(arrays={}, tuning=tuning | {"chosen": 0})))["Tuned"]
    assert "(those that were asked for)" in kept


def test_without_a_retrained_model_a_bad_end_names_both_next_steps():
    run = example(retrained=False, arrays={})
    found = result(dataclasses.replace(run, verdict=run.verdict | {"kind": "damaged"}))
    assert "To keep more, lower lr" in found.steps[0] and "--tune 8" in found.steps[0]
    assert "stays in use" in found.steps[0] and "--oracle retrain" in found.steps[1]
    plain = result(run)
    assert len(plain.steps) == 1 and "--oracle retrain" in plain.steps[0]

"""The verdict: by hand, against scipy's own intervals, and rule by rule."""

import dataclasses
import math
import tomllib

import numpy as np
import pytest
from scipy import stats

from unsee.errors import OptionError
from unsee.nouns import Measurement, Run
from unsee.verdict import default_words, load_policy, prediction_band, verdict

POLICY = load_policy()
CLASSES = {  # of a retrained model, about; and of the original
    "forget_accuracy": (0.0, 0.99),
    "forgotten_test_accuracy": (0.0, 0.97),
    "retain_accuracy": (0.99, 0.99),
    "test_accuracy": (0.97, 0.97),
    "membership_auc": (0.5, 0.6),
    "few_shot_recall": (0.7, 0.99),
}
SINGLE = {
    "forget_accuracy": (0.95, 1.0),
    "retain_accuracy": (0.99, 0.99),
    "test_accuracy": (0.97, 0.97),
    "membership_auc": (0.5, 0.6),
}


def number(x):
    return x if isinstance(x, Measurement) else Measurement(x, x, x, 100)


def judged(k=23, gone=True, table=None, spread=0.004, policy=POLICY, original=None, **changed):
    """Judge a model like the retrained ones but for what ``changed`` says."""
    table = table or (CLASSES if gone else SINGLE)
    rng = np.random.default_rng(0)
    wobble = {name: rng.normal(0, spread, k) if k else [] for name in table}
    wobble["forget_accuracy"] = np.zeros(k) if gone else wobble["forget_accuracy"]
    before = {name: both[1] for name, both in table.items()} | (original or {})
    after = {name: both[0] for name, both in table.items()} | changed
    run = Run(
        data={},
        forget={"gone": ["cat"] if gone else []},
        measurements={
            "original": {name: number(x) for name, x in before.items()},
            "unlearned": {n: None if x is None else number(x) for n, x in after.items()},
        },
        environment={},
        seed=0,
        references={name: [table[name][0] + x for x in wobble[name]] for name in table},
    )
    return verdict(run, policy)


def kind(**more):
    found = judged(**more)
    return found["light"], found["kind"]


def test_the_band_is_the_prediction_interval_of_one_more_draw():
    values = [0.71, 0.64, 0.80, 0.75, 0.69]
    low, high = prediction_band(values, 0.05)
    mean, s = np.mean(values), np.std(values, ddof=1)
    expected = stats.t.interval(0.95, 4, loc=mean, scale=s * math.sqrt(1 + 1 / 5))
    assert (low, high) == pytest.approx(expected)


def test_the_band_holds_one_more_draw_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        *values, new = rng.normal(0.7, 0.05, 9)
        low, high = prediction_band(values, 0.05)
        hits += low <= new <= high
    assert stats.binomtest(hits, 2000, 0.95).pvalue > 1e-3


def test_the_level_of_the_family_is_shared_by_the_audits_that_are_used():
    whole, single = (judged(gone=gone)["audits"] for gone in (True, False))
    for found, n in ((whole, 6), (single, 4)):
        assert len(found) == n
        audit = found["membership_auc"]
        values = judged(gone=n == 6)["audits"]["membership_auc"]
        half = (values["high"] - values["low"]) / 2 - audit["margin"]
        rng = np.random.default_rng(0)
        table = CLASSES if n == 6 else SINGLE
        drawn = {name: rng.normal(0, 0.004, 23) for name in table}["membership_auc"]
        t = stats.t.ppf(1 - 0.05 / n / 2, 22)
        assert half == pytest.approx(t * drawn.std(ddof=1) * math.sqrt(1 + 1 / 23))


def test_a_model_like_the_retrained_ones_is_green():
    found = judged()
    assert (found["light"], found["kind"], found["k"]) == ("green", "like retrained", 23)
    assert all(audit["state"] == "inside" for audit in found["audits"].values())
    assert found["policy"]["sha256"] == POLICY.sha256 and found["sentence"].endswith(".")
    assert judged(gone=False)["light"] == "green"


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"retain_accuracy": 0.9}, "damaged"),
        ({"test_accuracy": 0.8}, "damaged"),
        ({"test_accuracy": 0.8, "forget_accuracy": 0.99}, "damaged"),  # damage is named first
        ({"forget_accuracy": 0.5}, "still remembers"),
        ({"forgotten_test_accuracy": 0.4}, "still remembers"),
        ({"forget_accuracy": 0.5, "few_shot_recall": 0.99}, "still remembers"),
        ({"membership_auc": 0.6}, "still remembers"),
        ({"few_shot_recall": 0.99}, "shallow"),
        ({"few_shot_recall": 0.99, "membership_auc": 0.6}, "shallow"),  # the answers are right
        ({"few_shot_recall": 0.3}, "over-forgotten"),
        ({"membership_auc": 0.3}, "over-forgotten"),
    ],
    ids=str,
)
def test_what_leaves_its_band_is_red_and_named(changed, expected):
    found = judged(**changed)
    assert (found["light"], found["kind"]) == ("red", expected)
    named = {name for name in changed if found["audits"][name]["state"] != "inside"}
    assert len(found["reasons"]) == len(named) == len(changed)


def test_of_retain_and_test_accuracy_only_a_fall_is_a_fault():
    assert kind(retain_accuracy=1.0, test_accuracy=1.0) == ("green", "like retrained")


def test_an_auc_on_the_original_s_side_is_memory_even_below_one_half():
    """On few images chance may put all models of a class below 0.5, the original farthest."""
    table = CLASSES | {"membership_auc": (0.5, 0.35)}
    assert kind(table=table, membership_auc=0.36) == ("red", "still remembers")
    assert kind(table=table, membership_auc=0.7) == ("red", "still remembers")
    assert kind(membership_auc=0.36) == ("red", "over-forgotten")


def test_single_images_forgotten_too_hard_are_over_forgotten():
    assert kind(gone=False, forget_accuracy=0.3) == ("red", "over-forgotten")
    assert kind(gone=False, forget_accuracy=1.0) == ("red", "still remembers")


def test_where_the_original_is_like_the_retrained_ones_nobody_can_tell():
    same = {name: both[0] for name, both in SINGLE.items()}
    assert kind(gone=False, original=same) == ("grey", "cannot tell")
    far = kind(gone=False, original=same, forget_accuracy=0.2)
    assert far == ("red", "over-forgotten")  # outside is outside, with or without power


def test_without_power_in_depth_a_class_is_amber_at_most():
    found = judged(original={"few_shot_recall": 0.7})
    assert (found["light"], found["kind"]) == ("amber", "depth not tested")
    assert found["audits"]["few_shot_recall"]["power"] is False
    assert kind(few_shot_recall=None) == ("amber", "depth not tested")


def test_retain_and_test_accuracy_lend_no_power():
    same = {name: both[0] for name, both in CLASSES.items()} | {"retain_accuracy": 1.0}
    assert kind(original=same | {"test_accuracy": 0.5})[0] == "grey"


@pytest.mark.parametrize("k", [2, 5, 7])
def test_green_needs_eight_retrained_models(k):
    assert kind(k=k)[0] in ("amber", "grey")
    assert kind(k=8)[0] == "green"


def test_one_retrained_model_is_amber_unless_the_original_is_nearer():
    assert kind(k=1) == ("amber", "one reference")
    known = {"forget_accuracy": 0.9, "forgotten_test_accuracy": 0.9, "few_shot_recall": 0.95}
    assert kind(k=1, **known) == ("red", "still remembers")
    assert kind(k=1, few_shot_recall=0.8) == ("amber", "one reference")
    assert kind(k=1, few_shot_recall=0.2) == ("amber", "one reference")
    bands = judged(k=1)["audits"].values()
    assert all(a["low"] is a["high"] is a["power"] is None for a in bands)


@pytest.mark.parametrize("k, spread", [(1, 0.0), (2, 0.01)])
def test_one_audit_alone_is_a_suspicion_while_retrained_models_are_few(k, spread):
    found = judged(k=k, few_shot_recall=0.98, spread=spread)
    assert (found["light"], found["kind"]) == ("amber", "shallow")
    assert found["sentence"].startswith("Perhaps shallow")
    assert "nearer to the original's 0.990" in found["reasons"][0]
    assert "unsee oracles" in found["reasons"][-1]
    assert kind(k=1, forget_accuracy=0.9) == ("amber", "still remembers")
    assert kind(k=8, few_shot_recall=0.98) == ("red", "shallow")


def test_with_one_retrained_model_use_is_held_against_twice_the_margin():
    assert kind(k=1, test_accuracy=0.97 - 0.02, spread=0) == ("amber", "one reference")
    assert kind(k=1, test_accuracy=0.97 - 0.04, spread=0) == ("red", "damaged")
    assert kind(k=1, test_accuracy=0.99, spread=0) == ("amber", "one reference")


def test_nearer_means_nothing_within_the_interval_of_the_value():
    """A few dozen images leave an AUC that might as well be the retrained model's."""
    table = CLASSES | {"membership_auc": (0.41, 0.52)}
    sure = kind(k=1, table=table, membership_auc=0.505)
    assert sure == ("amber", "still remembers")
    vague = Measurement(0.505, 0.40, 0.61, 37)
    assert kind(k=1, table=table, membership_auc=vague) == ("amber", "one reference")


def test_nearer_means_nothing_where_original_and_retrained_are_alike():
    table = CLASSES | {"membership_auc": (0.48, 0.5)}
    assert kind(k=1, table=table, membership_auc=0.56) == ("amber", "one reference")


def test_without_a_retrained_model_there_is_no_verdict():
    found = judged(k=0)
    assert (found["light"], found["kind"]) == ("grey", "no reference")
    assert "oracle" in found["reasons"][0]


@pytest.mark.parametrize(
    "gone, changed, expected",
    [
        (True, {"forget_accuracy": 0.99}, ("red", "nothing was forgotten")),
        (True, {"forget_accuracy": 0.6}, ("red", "still remembers")),
        (True, {"forget_accuracy": 0.4}, ("grey", "no reference")),
        (True, {"forget_accuracy": Measurement(0.6, 0.3, 0.9, 5)}, ("grey", "no reference")),
        (True, {"test_accuracy": 0.9}, ("red", "damaged")),
        (True, {"retain_accuracy": 0.9}, ("red", "damaged")),
        (True, {"test_accuracy": 0.94}, ("grey", "no reference")),
        (True, {"test_accuracy": Measurement(0.9, 0.7, 0.98, 20)}, ("grey", "no reference")),
        (True, {"test_accuracy": 0.9, "forget_accuracy": 0.99}, ("red", "damaged")),
        (False, {"forget_accuracy": 1.0, "test_accuracy": 0.9}, ("red", "damaged")),
        (False, {"forget_accuracy": 1.0}, ("grey", "no reference")),  # as on test images, nearly
        (False, {"forget_accuracy": 0.2}, ("grey", "no reference")),
    ],
    ids=str,
)
def test_what_needs_no_retrained_model_is_said_without_one(gone, changed, expected):
    found = judged(k=0, gone=gone, **changed)
    assert (found["light"], found["kind"]) == expected
    assert "--oracle retrain" in found["reasons"][-1]


def test_single_images_are_held_against_test_images_where_there_is_no_retrained_model():
    learned = {"test_accuracy": 0.8}  # by heart: a retrained model would be at 0.8
    table = SINGLE | {"forget_accuracy": (0.8, 1.0), "test_accuracy": (0.8, 0.8)}
    found = judged(k=0, gone=False, table=table, original=learned, forget_accuracy=0.99)
    assert (
        found["kind"] == "nothing was forgotten" and "0.800 on test images" in found["reasons"][0]
    )
    found = judged(k=0, gone=False, table=table, original=learned, forget_accuracy=0.95)
    assert found["kind"] == "still remembers" and "never saw them" in found["sentence"]
    assert judged(k=0, gone=False, table=table, original=learned)["light"] == "grey"


def test_values_that_were_not_measured_do_not_count():
    found = judged(few_shot_recall=None, forgotten_test_accuracy=None)
    assert {*found["audits"]} == {*CLASSES} - {"few_shot_recall", "forgotten_test_accuracy"}


def test_where_none_of_its_audits_was_asked_there_is_no_verdict():
    run = Run(data={}, forget={}, measurements={}, environment={}, seed=0)
    maps = {"evidence_remaining": number(0.5)}
    asked = dataclasses.replace(run, measurements={"original": maps, "unlearned": maps})
    assert verdict(run, POLICY) == verdict(asked, POLICY) == {}


def test_the_policy_changes_the_verdict_and_leaves_its_digest(tmp_path):
    words = default_words().replace("membership_auc = 0.03", "membership_auc = 0.2")
    file = tmp_path / "mild.toml"
    file.write_text(words.replace("unsee default", "mild"))
    mild = load_policy(file)
    assert kind(membership_auc=0.6)[0] == "red"
    found = judged(policy=mild, membership_auc=0.6)
    assert found["light"] == "green" and found["policy"]["name"] == "mild"
    assert found["policy"]["sha256"] != POLICY.sha256


def test_the_default_policy_is_what_its_comments_say():
    record = tomllib.loads(default_words())
    assert record["family_level"] == 0.05 and record["green_needs"] == 8
    assert {*record["margins"]} == {*record["audits"]["classes"]}
    assert POLICY.margins["forget_accuracy"] == 0.02


@pytest.mark.parametrize(
    "change, told",
    [
        (("family_level = 0.05", "family_level = 5"), "family_level between 0 and 1"),
        (("green_needs = 8", "green_needs = 1"), "green_needs of 2"),
        (("membership_auc = 0.03", "membership_auc = -1"), "margins in 0..1"),
        (("membership_auc = 0.03", ""), "a margin for every audit"),
        (('"few_shot_recall",\n', '"vibes",\n'), "audits of a policy among"),
        (("version = 1", "version = 9"), "version 1"),
        (("classes = [", "classes = 1.0\nmore = ["), "lists of audits in a policy"),
        (("[margins]", "[margins"), "a policy in TOML"),
    ],
    ids=str,
)
def test_a_policy_with_a_fault_is_refused_by_its_reason(tmp_path, change, told):
    assert change[0] in default_words()
    file = tmp_path / "policy.toml"
    file.write_text(default_words().replace(*change))
    with pytest.raises(OptionError, match=told):
        load_policy(file)
    with pytest.raises(OptionError, match="a policy in TOML"):
        load_policy(tmp_path / "missing.toml")


def test_a_verdict_survives_json():
    run = dataclasses.replace(
        Run(data={}, forget={}, measurements={}, environment={}, seed=0), verdict=judged(k=1)
    )
    again = Run.from_json(run.to_json())
    assert again.verdict == run.verdict and again.references == run.references


DEEP = CLASSES | {"probe_recall": (0.7, 0.98), "relearn_recall": (0.0, 0.97)}


@pytest.mark.parametrize("k, light", [(1, "amber"), (23, "green")])
def test_what_the_policy_does_not_ask_is_told_and_changes_no_light(k, light):
    plain, found = (judged(k=k, table=DEEP, **x) for x in ({}, {"relearn_recall": 0.919}))
    assert found["light"] == plain["light"] == light and found["kind"] == plain["kind"]
    (told,) = [x for x in found["reasons"] if x not in plain["reasons"]]
    assert told.startswith("Beside the verdict, recall of the class after 20 steps")
    assert "0.919, nearer to the original's 0.970 than to the retrained" in told
    assert "relearn_recall" not in found["audits"]


def test_nothing_is_told_beside_a_verdict_that_has_nothing_to_hold_against():
    assert judged(k=0, table=DEEP, relearn_recall=0.919)["reasons"] == judged(k=0)["reasons"]
    wide = Measurement(0.6, 0.2, 0.9, 20)  # its interval reaches the retrained side
    assert judged(k=1, table=DEEP, relearn_recall=wide)["reasons"] == judged(k=1)["reasons"]
    same = DEEP | {"relearn_recall": (0.93, 0.97)}  # the original relearns as retrained models do
    assert judged(k=1, table=same, relearn_recall=0.97)["reasons"] == judged(k=1)["reasons"]


@pytest.mark.parametrize("gone", [True, False])
def test_green_needs_every_audit_of_the_policy(gone):
    assert kind(gone=gone)[0] == "green"
    for name in (CLASSES if gone else SINGLE).keys() - {"few_shot_recall"}:
        light, what = kind(gone=gone, **{name: None})
        assert (light, what) == ("amber", "not all was asked")
    assert kind(few_shot_recall=None) == ("amber", "depth not tested")


def test_of_few_images_one_more_or_less_is_no_sign():
    """Retrained models that all get the same five images right have a band without width."""
    table = SINGLE | {"forget_accuracy": (1.0, 1.0)}
    for n, light in ((5, "amber"), (1000, "red")):
        four_of_five = Measurement(0.8, 0.4, 0.95, n)
        found = kind(k=2, gone=False, table=table, spread=0.0, forget_accuracy=four_of_five)
        assert found[0] == light
    found = judged(k=2, gone=False, forget_accuracy=Measurement(0.8, 0.4, 0.95, 5))
    assert found["audits"]["forget_accuracy"]["margin"] == pytest.approx(0.3)


def test_damage_against_few_retrained_models_is_surely_below_them():
    table = SINGLE | {"test_accuracy": (0.9, 0.9)}
    unsure = Measurement(26 / 30, 0.7, 0.95, 30)
    assert kind(k=1, gone=False, table=table, test_accuracy=unsure)[0] == "amber"
    table = SINGLE | {"retain_accuracy": (1.0, 1.0)}
    assert kind(k=1, gone=False, table=table, retain_accuracy=Measurement(0.975, 0.87, 1, 40)) == (
        "amber",
        "one reference",
    )
    sure = Measurement(0.8, 0.75, 0.85, 1000)
    assert kind(k=1, gone=False, test_accuracy=sure) == ("red", "damaged")


def with_both(k, *, staying, forget=0.86):
    """All images of a small class are to go, and many of a class that stays."""
    rng, table = np.random.default_rng(0), CLASSES | {"forget_accuracy": (0.864, 0.99)}
    run = Run(
        data={},
        forget={"gone": ["cat"], "staying": staying, "count": 110},
        measurements={
            "original": {name: number(both[1]) for name, both in table.items()},
            "unlearned": {n: number(both[0]) for n, both in table.items()}
            | {"forget_accuracy": number(forget)},
        },
        environment={},
        seed=0,
        references={
            name: [both[0] + x for x in rng.normal(0, 0.004, k)] for name, both in table.items()
        },
    )
    return verdict(run, POLICY)


def test_of_classes_that_go_and_images_of_others_nobody_knows_the_aim():
    assert with_both(0, staying=0)["kind"] == "still remembers"
    assert with_both(0, staying=2)["kind"] == "still remembers"
    assert with_both(0, staying=100)["kind"] == "no reference"
    assert with_both(12, staying=100)["light"] == "green"
    assert with_both(12, staying=100, forget=0.97)["light"] == "red"


def test_single_images_are_held_against_unseen_ones_of_their_classes():
    """An easy class: right more often than test images are, whoever never saw it."""
    table = SINGLE | {"forget_accuracy": (0.96, 0.986), "test_accuracy": (0.889, 0.889)}
    assert kind(k=0, gone=False, table=table)[0] == "red"
    table |= {"forgotten_test_accuracy": (0.958, 0.96)}
    assert kind(k=0, gone=False, table=table) == ("grey", "no reference")


def test_one_class_of_several_that_is_remembered_is_red_whatever_the_mean_says():
    table = CLASSES | {"most_remembered_class": (0.0, 1.0)}
    assert kind(table=table)[0] == "green"
    found = judged(table=table, most_remembered_class=Measurement(1.0, 0.93, 1.0, 50))
    assert (found["light"], found["kind"]) == ("red", "still remembers")
    assert "remembered most: 1.000" in found["reasons"][0]

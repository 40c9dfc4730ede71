"""Tuning: what is tried, what it is judged by, what it may see, and what a run records of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import conv_net, pattern_data, rng, seeded

from unsee.data import choose
from unsee.erasure import unlearn
from unsee.errors import DamageError, OptionError
from unsee.events import listening, noted
from unsee.methods import METHODS, method
from unsee.nouns import Config, Run, Seen
from unsee.pipeline import prepare, run
from unsee.training import counting
from unsee.tuning import Sight, objective, settings

CHOICES = {"lr": (1 / 8, 4.0), "epochs": (1.0, 2.0)}


def seen(labels, answers, features=None, sure=4.0):
    """Answers as logits; ``sure`` is how far above the others."""
    labels, answers = torch.tensor(labels), torch.tensor(answers)
    logits = torch.nn.functional.one_hot(answers, 3).float() * sure
    features = torch.zeros(len(labels), 4) if features is None else features
    return Seen(labels, logits, features)


def sight(forget, unseen, stays):
    return Sight(forget, unseen, stays)


@pytest.fixture
def tunable():
    """A class to forget, with validation images that are neither trained on nor tested with."""
    with noted():  # that half of the test images are for tuning
        return choose(pattern_data(192), "class=c", validate=True)


# What is judged.


def test_a_class_is_judged_by_its_answers_by_what_stays_and_by_depth_each_in_its_unit():
    class_c, others = [2] * 10, [0, 1] * 5
    apart = torch.nn.functional.one_hot(torch.tensor(others), 4).float()
    apart = apart + 0.01 * torch.randn(10, 4, generator=rng())
    own = torch.nn.functional.one_hot(torch.tensor(class_c), 4).float()
    own = own + 0.01 * torch.randn(10, 4, generator=rng(1))
    before = sight(seen(class_c, class_c, own), seen(class_c, class_c, own), seen(others, others))
    kept = seen(others, [0, 1] * 4 + [1, 1], apart)
    after = sight(seen(class_c, [2, 2, 2] + [0] * 7, own), seen(class_c, [0] * 10, own), kept)
    found = objective(after, before, gone=(2,))
    assert found == {
        "forget accuracy": pytest.approx(30.0),
        "accuracy that stays": pytest.approx(10.0),
        "few-shot recall": pytest.approx(4.0),  # the features tell the class apart at once
    }
    mixed = torch.randn(10, 4, generator=rng(2))
    blind = sight(seen(class_c, [0] * 10, apart), seen(class_c, [0] * 10, -mixed), kept)
    assert objective(blind, before, gone=(2,))["few-shot recall"] < 3


def test_single_images_are_judged_by_how_unseen_they_look():
    labels = [0, 1, 2] * 10
    wrong = [1, 1, 2] + labels[3:]
    fresh = seen(labels, wrong)
    known = sight(seen(labels, labels, sure=9.0), fresh, fresh)
    found = objective(known, known, gone=())
    assert found["forget accuracy"] == pytest.approx(100 / 30)
    assert found["membership AUC"] == pytest.approx(50.0)  # all losses lie below
    alike = sight(fresh, fresh, fresh)
    assert {*objective(alike, known, gone=()).values()} == {0.0}
    hard = sight(seen(labels, [0] * 30, sure=9.0), fresh, fresh)  # worse than unseen is no gain
    assert objective(hard, known, gone=())["forget accuracy"] > 50
    assert objective(hard, known, gone=())["membership AUC"] == pytest.approx(100 / 6)


def test_accuracy_that_rises_is_no_merit_and_a_fall_counts():
    good, bad = seen([0, 1] * 5, [0, 1] * 5), seen([0, 1] * 5, [0, 1] * 4 + [1, 0])
    none = seen([2], [0])
    empty = Seen(*(x[:0] for x in vars(none).values()))
    rising = objective(sight(none, empty, good), sight(none, empty, bad), (2,))
    falling = objective(sight(none, empty, bad), sight(none, empty, good), (2,))
    assert rising == {"accuracy that stays": 0.0, "forget accuracy": 0.0}
    assert falling["accuracy that stays"] == pytest.approx(20.0)
    assert "few-shot recall" not in rising  # no unseen image of the class to tell it by


# What is tried.


def test_the_first_trial_is_what_was_asked_for_and_the_others_lie_within_their_factors():
    options = {"lr": 0.02, "epochs": 2, "sigma": 1.0}
    several = settings(options, CHOICES, 33, rng())
    assert several[0] == {} and len(several) == 33
    rates = sorted(trial["lr"] for trial in several[1:])
    assert 0.0025 <= rates[0] and rates[-1] <= 0.08
    assert {trial["epochs"] for trial in several[1:]} == {2, 3, 4}
    assert all(trial.keys() == CHOICES.keys() for trial in several[1:])
    assert several == settings(options, CHOICES, 33, rng())
    assert several[1:] != settings(options, CHOICES, 33, rng(1))[1:]


@pytest.mark.parametrize("seed", range(5))
def test_eight_rates_leave_no_gap_of_a_third_of_the_range(seed):
    several = settings({"lr": 1.0}, {"lr": (1 / 8, 4.0)}, 9, rng(seed))[1:]
    places = sorted(math.log(trial["lr"] * 8, 32) for trial in several)
    gaps = np.diff([places[-1] - 1, *places])  # around, as the shift is
    assert max(gaps) < 1 / 3


def test_the_default_search_keeps_to_options_that_a_method_has():
    assert METHODS["snu"].searched({}).keys() == {"lr", "epochs"}
    assert METHODS["snu"].searched({"lr": 0.1}).keys() == {"epochs"}
    assert METHODS["noop"].searched({}) == METHODS["head_only"].searched({}) == {}

    @method(title="Own", paper="none", search={"sigma": (0.5, 2.0)})
    def own(model, forget, retain, *, rng, lr: float = 1.0, sigma: float = 1.0):
        """Search what it says."""
        return model

    assert own.searched({}) == {"sigma": (0.5, 2.0)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_all_that_any_method_tries_is_a_value_that_it_takes(name):
    how = METHODS[name]
    if searched := how.searched({}):
        assert all(0 < low <= high < math.inf for low, high in searched.values())
        for trial in settings(how.options, searched, 9, rng()):
            assert how.chosen(trial) == how.options | trial


# The search.


def tune(trained, split, name="snu_deep", trials=4, **more):
    facts = {}
    after = unlearn(
        trained,
        split.forget,
        split.retain,
        method=name,
        tune=trials,
        validation=split.validation,
        facts=facts,
        **{"guard": 0.99} | more,
    )
    return after, facts


def test_the_model_is_that_of_the_best_trial_and_of_no_other(trained, tunable):
    after, facts = tune(trained, tunable)
    tried = facts["tuning"]["trials"]
    scores = [trial["score"] for trial in tried if trial["score"] is not None]
    assert len(tried) == 4 and tried[facts["tuning"]["chosen"]]["score"] == min(scores)
    chosen = tried[facts["tuning"]["chosen"]]["options"]
    assert facts["options"] == METHODS["snu_deep"].options | chosen
    again = unlearn(
        trained,
        tunable.forget,
        tunable.retain,
        method="snu_deep",
        guard=1,
        **chosen,
    )
    a, b = after.state_dict(), again.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert json.loads(json.dumps(facts)) == facts


def test_one_trial_is_the_method_as_it_is(trained, tunable):
    after, facts = tune(trained, tunable, trials=1)
    plain = unlearn(trained, tunable.forget, tunable.retain, guard=1)
    a, b = after.state_dict(), plain.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert facts["tuning"]["chosen"] == 0 and facts["options"] == METHODS["snu_deep"].options


def test_what_was_asked_for_is_not_tuned(trained, tunable):
    _, facts = tune(trained, tunable, lr=0.003)
    assert {tuple(trial["options"]) for trial in facts["tuning"]["trials"]} == {("adversary",)}
    assert facts["options"]["lr"] == 0.003
    with pytest.raises(OptionError, match="left to tune"):
        tune(trained, tunable, lr=0.003, adversary=0.01)


def test_a_better_setting_is_found_where_the_given_one_does_nothing(trained, tunable):
    @method(title="Timid", paper="none", search={"times": (1.0, 100.0)})
    def timid(model, forget, retain, *, rng, times: float = 1.0):
        """Push the forgotten class down."""
        with torch.no_grad():
            model[4].bias[2] -= times
        return model

    after, facts = tune(trained, tunable, timid, trials=6)
    tried, chosen = facts["tuning"]["trials"], facts["tuning"]["chosen"]
    assert chosen > 0 and tried[0]["short"]["forget accuracy"] == 100.0
    assert tried[chosen]["short"]["forget accuracy"] == 0.0
    assert (trained[4].bias[2] - after[4].bias[2]).item() == pytest.approx(
        facts["options"]["times"], 1e-3
    )


def test_settings_that_do_harm_are_out_and_said_to_be(trained, tunable):
    @method(title="Rash", paper="none", search={"times": (0.01, 100.0)})
    def rash(model, forget, retain, *, rng, times: float = 100.0):
        """Push a class down that is to stay."""
        with torch.no_grad():
            model[4].bias[0] -= times
        return model

    _, facts = tune(trained, tunable, rash, trials=6, guard=0.1)
    tried, chosen = facts["tuning"]["trials"], facts["tuning"]["chosen"]
    assert tried[0]["score"] is None and "got" in tried[0]["stopped"]
    assert "original model" not in tried[0]["stopped"]
    assert chosen > 0 and tried[chosen]["stopped"] is None
    assert facts["guard"]["after"] >= facts["guard"]["before"] - 0.1  # of the chosen one
    with pytest.raises(DamageError, match="one of 2 settings that keeps what stays") as caught:
        tune(trained, tunable, replace(rash, search={"times": (1.0, 1.1)}), trials=2, guard=0.1)
    assert "--tune 4" in str(caught.value) and "untouched" in str(caught.value)


def test_every_trial_s_image_gradients_are_counted_once(trained, tunable):
    with counting() as spent:
        _, facts = tune(trained, tunable, trials=3, guard=1)
    looked = (len(tunable.forget) + 1 + len(tunable.validation) + 1) / 3
    trials = sum(trial["image_gradients"] for trial in facts["tuning"]["trials"])
    assert sum(spent) == pytest.approx(trials + looked)  # and the original is looked at once


def test_trials_are_told_one_by_one_and_their_steps_are_not(trained, tunable):
    heard = []
    with listening(heard.append):
        tune(trained, tunable, trials=3)
    assert [(event.done, event.total) for event in heard] == [(1, 3), (2, 3), (3, 3)]
    assert heard[0].message.startswith("trial 0 with lr=0.02, adversary=0.02: short of ")


def test_nothing_of_the_audits_is_looked_at(trained, tunable, monkeypatch):
    from unsee import tuning

    looked, watch = set(), tuning.predict

    def spying(model, data):
        looked.update(data.ids.tolist())
        return watch(model, data)

    monkeypatch.setattr(tuning, "predict", spying)
    tune(trained, tunable, trials=2)
    assert looked == {*tunable.forget.ids.tolist(), *tunable.validation.ids.tolist()}
    assert looked.isdisjoint(tunable.test.ids.tolist())


@pytest.mark.parametrize(
    "more, told",
    [
        ({"trials": -1}, "0 or more settings"),
        ({"name": "noop"}, "left to tune"),
        ({"name": "random_head"}, "left to tune"),
    ],
    ids=str,
)
def test_a_search_that_cannot_be_is_refused(trained, tunable, more, told):
    with pytest.raises(OptionError, match=told):
        tune(trained, tunable, **more)


def test_without_validation_images_there_is_no_tuning(trained, patterns):
    with pytest.raises(OptionError, match="validation images to tune on"):
        tune(trained, patterns)
    with pytest.raises(OptionError, match="validation images to tune on"):
        unlearn(trained, patterns.forget, patterns.retain, tune=2)


@pytest.mark.filterwarnings("ignore:the model gets")  # it is a blank one
def test_single_images_are_tuned_too():
    with noted():
        single = choose(pattern_data(192), torch.arange(0, 12), validate=True)
    _, facts = tune(seeded(conv_net), single, trials=2)
    assert facts["tuning"]["trials"][0]["short"].keys() == {
        *("accuracy that stays", "forget accuracy", "membership AUC")
    }


# In a run.


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"tune": -1}, "--tune of 0 or more"),
        ({"tune": 2, "method": "noop"}, "'noop' left to --tune"),
        ({"tune": 2, "options": {"lr": 1.0, "epochs": 1}}, "'snu' left to --tune"),
    ],
    ids=str,
)
def test_a_run_refuses_it_before_anything_is_written(config, tmp_path, wrong, told):
    with pytest.raises(OptionError, match=told):
        run(replace(config, **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_records_the_search_and_the_audits_keep_their_own_images(config, tmp_path):
    tuned = replace(config, oracle="none", tune=3, guard=0.99)
    with noted():
        job = prepare(tuned)
    assert len(job.split.validation) and len(job.split.test)
    done = run(tuned, tmp_path / "run")
    chosen = done.tuning["trials"][done.tuning["chosen"]]["options"]
    assert done.options == METHODS["snu"].options | chosen
    assert done.tuning["images"] == {"forget": 24, "validation": len(job.split.validation)}
    assert done.data["counts"]["test"] == len(job.split.test) == 24 - len(job.split.validation)
    spent = sum(trial["image_gradients"] for trial in done.tuning["trials"])
    assert done.image_gradients["unlearn"] > spent
    assert Run.from_json(done.to_json()).tuning == done.tuning
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    told = [e for e in map(json.loads, lines) if (e["message"] or "").startswith("trial ")]
    assert len(told) == 3 and all(e["stage"] == "unlearn" for e in told)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "3 settings" in page


def test_untuned_runs_keep_all_their_test_images(config):
    assert len(prepare(config).split.validation) == 0
    assert Config().tune == 0
